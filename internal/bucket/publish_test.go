package bucket

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"distd/internal/manifest"
	"distd/internal/shrink"
	"distd/pkg/torrentfile"
)

var (
	siteOne = map[string]string{"index.html": "one", "a/b.js": "x", "empty": "", "sp ace+%#ü.txt": "names"}
	siteTwo = map[string]string{"index.html": "two!", "a/b.js": "x", "new": "n"}
)

// TestOrder: what never changes is there before the pointer, the manifest's
// signature after all content, and the plain names are last.
func TestOrder(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	r := p.release(nil, siteOne)
	res, err := put(t, m, p, r)
	check(t, err)
	if res.Unchanged || res.Serial != 1 || res.ID != r.ID || len(res.Notes) > 0 {
		t.Errorf("result %+v", res)
	}
	if serial, torn := m.serial(t, p.key.Public()); serial != 1 || torn {
		t.Errorf("a reader gets release %d, torn: %v", serial, torn)
	}
	dir := "pre/releases/" + r.ID + "/"
	var want []string
	want = append(want, "pre/publish.pub", dir+"manifest.json")
	middle := m.writes[2 : len(m.writes)-7]
	for _, k := range middle {
		if !strings.HasPrefix(k, dir) || strings.Contains(k, "manifest.json") && k != dir+"manifest.json.zst" {
			t.Errorf("%s is written with the content", k)
		}
	}
	if len(middle) != len(siteOne)+8 {
		t.Errorf("%d objects of content and documents, want %d", len(middle), len(siteOne)+8)
	}
	item := m.objects[dir+manifest.ItemFile]
	if i, err := manifest.OpenItem(p.key.Public(), item.data); err != nil || i.Matches(r.Manifest.Pointer(r.ID)) != nil || item.head.ContentType != typeBytes {
		t.Errorf("the bucket's item is %+v of type %s, %v", i, item.head.ContentType, err)
	}
	for name, whole := range map[string][]byte{"manifest.json.zst": r.manifest, "info.zst": nil} {
		o := m.objects[dir+name]
		b, err := shrink.Unpack(o.data, nil, 1<<20)
		if sum := sha1.Sum(b); err != nil || whole != nil && !bytes.Equal(b, whole) || whole == nil && hex.EncodeToString(sum[:]) != r.Manifest.InfoHash || o.head.ContentType != "application/zstd" {
			t.Errorf("%s unpacks to %d bytes, %v; type %s", name, len(b), err, o.head.ContentType)
		}
	}
	want = append(want, dir+"manifest.json.minisig", "pre/channels/web/latest.json.minisig", "pre/channels/web/latest.json")
	got := slices.Concat(m.writes[:2], m.writes[len(m.writes)-7:len(m.writes)-4])
	if !slices.Equal(got, want) {
		t.Errorf("written in the order\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	plain := slices.Sorted(slices.Values(m.writes[len(m.writes)-4:]))
	if !slices.Equal(plain, []string{"pre/site.magnet", "pre/site.meta4", "pre/site.metalink", "pre/site.torrent"}) {
		t.Errorf("last are %q", plain)
	}
	for k, o := range m.objects {
		want := cacheCheck
		if strings.HasPrefix(k, "pre/releases/") {
			want = cacheForever
		}
		if o.head.CacheControl != want || o.head.ContentType == "" {
			t.Errorf("%s has the headers %+v", k, o.head)
		}
	}
	if !strings.Contains(string(m.objects["pre/site.metalink"].data), "https://cdn.example/pre/releases/"+r.ID+"/content/site/a/b.js") {
		t.Error("the metalink does not lead to the bucket's public address")
	}
}

// TestAgain: publishing the same again sends nothing, also from a folder that
// has never seen the bucket's release.
func TestAgain(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	r := p.release(nil, siteOne)
	_, err := put(t, m, p, r)
	check(t, err)
	n := len(m.writes)
	res, err := put(t, m, p, r)
	check(t, err)
	if !res.Unchanged || res.Objects != 0 || len(m.writes) != n {
		t.Errorf("the same release again: %+v, %d writes", res, len(m.writes)-n)
	}
	other := publisherWith(t, p.key)
	after := look(t.Context(), t, m, p).Pointer()
	same := other.release(after, siteOne)
	if same.ID == r.ID || same.Manifest.Serial != 2 {
		t.Fatalf("the other folder made release %d, want the second", same.Manifest.Serial)
	}
	res, err = put(t, m, other, same)
	check(t, err)
	if !res.Unchanged || res.Serial != 1 || res.ID != r.ID || len(m.writes) != n {
		t.Errorf("the same content from another folder: %+v, %d writes", res, len(m.writes)-n)
	}
	next := other.release(after, siteTwo)
	if res, err = put(t, m, other, next); err != nil || res.Unchanged || res.Serial != 3 {
		t.Errorf("other content from another folder: %+v, %v", res, err)
	}
	if _, err := put(t, m, p, r); !errors.Is(err, ErrSerial) {
		t.Errorf("an older release after it: %v, want ErrSerial", err)
	}
	// The folder's newest is behind the bucket's: the same content is a release
	// anew.
	if r = p.release(look(t.Context(), t, m, p).Pointer(), siteOne); r.Manifest.Serial != 4 {
		t.Errorf("going back makes release %d, want 4", r.Manifest.Serial)
	}
	_, err = put(t, m, p, r)
	check(t, err)
	if serial, torn := m.serial(t, p.key.Public()); serial != 4 || torn {
		t.Errorf("a reader gets release %d, torn: %v", serial, torn)
	}
}

// fault is one way in which a request can go wrong.
type fault struct {
	name   string
	passes bool // the publish succeeds nevertheless
	set    func(m *memory, cancel context.CancelFunc, hit func() bool)
}

var errBroken = errors.New("broken")

var faults = []fault{
	{"refused", false, func(m *memory, _ context.CancelFunc, hit func() bool) {
		m.before = func(string, string) error { return failIf(hit(), errBroken) }
	}},
	{"fails once", true, func(m *memory, _ context.CancelFunc, hit func() bool) {
		m.before = func(string, string) error { return failIf(hit(), &TemporaryError{errBroken}) }
	}},
	{"answer lost once", true, func(m *memory, _ context.CancelFunc, hit func() bool) {
		m.after = func(string, string) error { return failIf(hit(), &TemporaryError{errBroken}) }
	}},
	{"cancelled", false, func(m *memory, cancel context.CancelFunc, hit func() bool) {
		m.before = func(string, string) error {
			if hit() {
				cancel()
			}
			return nil
		}
	}},
	{"gone for good", false, func(m *memory, _ context.CancelFunc, hit func() bool) {
		gone := false
		m.before = func(string, string) error {
			gone = gone || hit()
			return failIf(gone, &TemporaryError{errBroken})
		}
	}},
}

func failIf(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// TestEveryStep lets every single request of a publish go wrong. A reader has
// the old release or the new one at any time, and the next publish does the
// rest without sending anything of the content twice.
func TestEveryStep(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			p := newPublisher(t)
			one, two := p.release(nil, siteOne), (*Release)(nil)
			// The first release is opened before the second becomes the newest.
			two = p.release(nil, siteTwo)
			for step, more := 1, true; more; step++ {
				synctest.Test(t, func(t *testing.T) { more = failAt(t, f, step, p, one, two) })
			}
		})
	}
}

// failAt publishes one, then two with its n-th request going wrong, then two
// again. It returns false when there is no n-th request.
func failAt(t *testing.T, f fault, n int, p *publisher, one, two *Release) bool {
	m := newMemory()
	_, err := put(t, m, p, one)
	check(t, err)
	before := len(m.writes)
	c := look(t.Context(), t, m, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	count, step := 0, ""
	f.set(m, cancel, func() bool { count++; return count == n })
	m.before = watched(t, m, p, m.before, func(op, key string) {
		if count == n && step == "" {
			step = op + " " + key
		}
	})
	res, err := c.Publish(ctx, two, Options{})
	m.before, m.after = nil, nil
	if count < n {
		check(t, err)
		return false
	}
	serial, torn := m.serial(t, p.key.Public())
	switch {
	case f.passes && (err != nil || serial != 2 || len(res.Notes) > 0):
		t.Errorf("step %d (%s): %+v, %v; a reader gets release %d", n, step, res, err, serial)
	case err != nil && serial != 1 || err == nil && serial != 2:
		t.Errorf("step %d (%s): %v, but a reader gets release %d", n, step, err, serial)
	case torn && f.name != "gone for good":
		t.Errorf("step %d (%s): the signature is not that of the pointer", n, step)
	}
	if len(m.uploads) > 0 {
		t.Errorf("step %d (%s): unfinished objects are left", n, step)
	}
	res, err = put(t, m, p, two)
	if serial, torn := m.serial(t, p.key.Public()); err != nil || serial != 2 || torn || len(res.Notes) > 0 {
		t.Errorf("step %d (%s), publish again: %+v, %v; a reader gets release %d, torn: %v", n, step, res, err, serial, torn)
	}
	written := map[string]int{}
	for _, k := range m.writes[before:] {
		written[k]++
		if strings.Contains(k, "/content/") && written[k] > 1 && f.name != "answer lost once" {
			t.Errorf("step %d (%s): %s was sent twice", n, step, k)
		}
	}
	return true
}

// watched looks at the bucket as a reader before each request.
func watched(t *testing.T, m *memory, p *publisher, next func(op, key string) error, note func(op, key string)) func(op, key string) error {
	return func(op, key string) error {
		if serial, torn := m.serial(t, p.key.Public()); serial == 0 || torn && serial != 1 {
			t.Errorf("before %s %s: a reader gets release %d, torn: %v", op, key, serial, torn)
		}
		var err error
		if next != nil {
			err = next(op, key)
		}
		note(op, key)
		return err
	}
}

// TestConflict: of two publishers one wins, and the other is told and has
// changed nothing, whenever the winner comes.
func TestConflict(t *testing.T) {
	p := newPublisher(t)
	other := publisherWith(t, p.key)
	first := p.release(nil, siteOne)
	mine := p.release(first.Manifest.Pointer(first.ID), siteTwo)
	theirs := other.release(first.Manifest.Pointer(first.ID), map[string]string{"index.html": "theirs"})
	for step, more := 1, true; more; step++ {
		m := newMemory()
		_, err := put(t, m, p, first)
		check(t, err)
		c := look(t.Context(), t, m, p)
		count := 0
		m.before = func(string, string) error {
			if count++; count == step {
				m.before = nil
				m.mu.Unlock()
				defer m.mu.Lock()
				if _, err := put(t, m, other, theirs); err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrSerial) {
					t.Errorf("step %d: the other: %v", step, err)
				}
			}
			return nil
		}
		_, err = c.Publish(t.Context(), mine, Options{})
		more = count >= step
		if err != nil && !errors.Is(err, ErrConflict) {
			t.Errorf("step %d: %v, want ErrConflict", step, err)
		}
		live := string(m.objects["pre/channels/web/latest.json"].data)
		if won := strings.Contains(live, mine.ID); won != (err == nil) {
			t.Errorf("step %d: %v, but latest.json is %s", step, err, live)
		}
		if serial, torn := m.serial(t, p.key.Public()); serial != 2 || torn {
			t.Errorf("step %d: a reader gets release %d, torn: %v", step, serial, torn)
		}
	}
}

// TestUnconditional: a store without conditional writes is used all the same,
// and the publisher is told.
func TestUnconditional(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	m.unconditional = true
	r := p.release(nil, siteOne)
	res, err := put(t, m, p, r)
	check(t, err)
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "conditional") {
		t.Errorf("notes %q", res.Notes)
	}
	c := look(t.Context(), t, m, p)
	other := publisherWith(t, p.key)
	_, err = put(t, m, other, other.release(c.Pointer(), map[string]string{"a": "theirs"}))
	check(t, err)
	if _, err = c.Publish(t.Context(), p.release(nil, siteTwo), Options{}); !errors.Is(err, ErrConflict) {
		t.Errorf("after another was faster: %v, want ErrConflict", err)
	}
}

// TestForeign: what another key has signed is neither followed nor replaced.
func TestForeign(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	_, err := put(t, m, p, p.release(nil, siteOne))
	check(t, err)
	stranger := newPublisher(t)
	_, keyThere := m.objects["pre/publish.pub"]
	for _, key := range []manifest.PublicKey{stranger.key.Public(), {}} {
		if _, err := Look(t.Context(), m, "pre", "web", key, nil); !errors.Is(err, manifest.ErrKey) || !keyThere {
			t.Errorf("with key %q: %v, want ErrKey", key, err)
		}
		if _, err := Look(t.Context(), m, "pre", "other", key, nil); !errors.Is(err, manifest.ErrKey) {
			t.Errorf("another channel with key %q: %v, want ErrKey", key, err)
		}
	}
	delete(m.objects, "pre/publish.pub")
	for _, key := range []manifest.PublicKey{stranger.key.Public(), {}} {
		if _, err := Look(t.Context(), m, "pre", "web", key, nil); !errors.Is(err, manifest.ErrKey) {
			t.Errorf("without publish.pub, with key %q: %v, want ErrKey", key, err)
		}
	}
	empty, err := Look(t.Context(), newMemory(), "", "web", manifest.PublicKey{}, nil)
	if err != nil || empty.Pointer() != nil {
		t.Errorf("an empty bucket: %v, %v", empty.Pointer(), err)
	}
	o := m.objects["pre/channels/web/latest.json"]
	o.data = append(slices.Clone(o.data), ' ')
	m.objects[o.Key] = o
	if _, err := Look(t.Context(), m, "pre", "web", p.key.Public(), nil); !errors.Is(err, manifest.ErrSignature) {
		t.Errorf("a pointer that was changed: %v, want ErrSignature", err)
	}
}

// TestItem: a release of an older version has no item, and is put without; a
// damaged one is not put.
func TestItem(t *testing.T) {
	p := newPublisher(t)
	r := p.release(nil, siteOne)
	open := func() (*Release, error) {
		return OpenRelease(p.dir, "web", r.ID, p.key.Public(), "")
	}
	has := func(r *Release) bool {
		return slices.ContainsFunc(r.docs, func(d document) bool { return d.name == manifest.ItemFile })
	}
	if got, err := open(); err != nil || !has(got) {
		t.Errorf("a release without its item, %v", err)
	}
	path := filepath.Join(r.dir, manifest.ItemFile)
	check(t, os.WriteFile(path, []byte("d1:ve"), 0o644))
	if _, err := open(); !errors.Is(err, manifest.ErrMalformed) || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged item: %v", err)
	}
	check(t, os.Remove(path))
	if got, err := open(); err != nil || has(got) {
		t.Errorf("a release of an older version: %v", err)
	}
}

// TestMagnet: the bucket's link leads to the bucket, and to no peer.
func TestMagnet(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	r := p.release(nil, siteOne)
	_, err := put(t, m, p, r)
	check(t, err)
	for _, key := range []string{"pre/site.magnet", "pre/releases/" + r.ID + "/site.magnet"} {
		text := strings.TrimSuffix(string(m.objects[key].data), "\n")
		link, err := torrentfile.ParseMagnet(text)
		check(t, err)
		dir := "https://cdn.example/pre/releases/" + r.ID + "/"
		if !slices.Equal(link.WebSeeds, []string{dir + "content/"}) || !slices.Equal(link.Sources, []string{dir + "site.torrent"}) || len(link.Peers) > 0 || link.Name != "site" {
			t.Errorf("%s: %s", key, text)
		}
	}
}

// TestHardLinks: each name of a file is an object, as a node's tree of URLs has both.
func TestHardLinks(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	src := filepath.Join(t.TempDir(), "site")
	check(t, os.Mkdir(src, 0o755))
	check(t, os.WriteFile(filepath.Join(src, "a"), []byte("one file"), 0o644))
	check(t, os.Link(filepath.Join(src, "a"), filepath.Join(src, "b")))
	r := p.publishPath("web", nil, src)
	if f := r.Manifest.Files; len(f) != 2 || f[1].Hardlink != "a" {
		t.Fatalf("files %+v", f)
	}
	_, err := put(t, m, p, r)
	check(t, err)
	for _, name := range []string{"a", "b"} {
		if got := string(m.objects["pre/releases/"+r.ID+"/content/site/"+name].data); got != "one file" {
			t.Errorf("%s is %q in the bucket", name, got)
		}
	}
}
