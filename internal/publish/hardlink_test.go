package publish

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/manifest"
	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

func (b *bench) link(old, name string) {
	b.Helper()
	p := filepath.Join(b.src, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Link(filepath.Join(b.src, old), p); err != nil {
		b.Fatal(err)
	}
}

// hardLinks lists what the manifest of a release says, as "name=first".
func (b *bench) hardLinks(res *Result) string {
	b.Helper()
	var out []string
	for _, f := range b.manifest(res).Files {
		if f.Hardlink != "" {
			out = append(out, f.Path+"="+f.Hardlink)
		}
		if f.Hardlink != "" && !os.SameFile(b.content(res, f.Path), b.content(res, f.Hardlink)) {
			b.Errorf("%s is not the file %s", f.Path, f.Hardlink)
		}
	}
	return strings.Join(out, " ")
}

func (b *bench) manifest(res *Result) *manifest.Manifest {
	b.Helper()
	r, err := b.st.Release(res.ID)
	if err != nil {
		b.Fatal(err)
	}
	return r.Manifest
}

// linkedTree has a file with three names, one that is outside with another name,
// one with a name that is left out, and an empty one.
func linkedTree(t *testing.T) (*bench, Options) {
	b := newBench(t)
	b.write("site/m", noise(1, 50_000))
	b.link("site/m", "site/a/first")
	b.link("site/m", "site/z")
	b.write("site/out", noise(2, 1000))
	b.link("site/out", "elsewhere")
	b.write("site/x", noise(3, 1000))
	b.link("site/x", "site/left.tmp")
	b.write("site/none", nil)
	b.link("site/none", "site/nothing")
	b.write("site/alike1", noise(4, 1000))
	b.write("site/alike2", noise(4, 1000))
	return b, Options{Path: filepath.Join(b.src, "site"), Exclude: []string{"*.tmp"}}
}

// publishLinked is publish for a tree of which something is left out.
func (b *bench) publishLinked(o Options) *Result {
	b.Helper()
	res, err := b.try(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	tor, err := torrentfile.Parse(b.meta(res, res.Name+".torrent"))
	if err != nil {
		b.Fatal(err)
	}
	b.checkContent(res, b.manifest(res), tor)
	b.checkAgain(res)
	b.noLitter()
	return res
}

func TestHardLinks(t *testing.T) {
	for _, o := range []Options{{}, {MD5: true}, {InPlace: true}, {PieceLength: 1 << 14, Checksum: true}} {
		t.Run(fmt.Sprintf("in place %v, MD5 %v, checksum %v", o.InPlace, o.MD5, o.Checksum), func(t *testing.T) {
			b, base := linkedTree(t)
			o.Path, o.Exclude = base.Path, base.Exclude
			res := b.publishLinked(o)
			const want = "m=a/first nothing=none z=a/first"
			if got := b.hardLinks(res); got != want {
				t.Errorf("hard links %q, want %q", got, want)
			}
			if res.Size != 50_000+4*1000 || res.Files != 9 {
				t.Errorf("%d bytes in %d files", res.Size, res.Files)
			}
			if m := b.manifest(res); o.MD5 && m.Files[m.FileIndex("z")].MD5 == "" {
				t.Error("a further name has no MD5")
			}
			if os.SameFile(b.content(res, "alike1"), b.content(res, "alike2")) {
				t.Error("two files have become one")
			}
			if again := b.publishLinked(o); !again.Unchanged {
				t.Errorf("the same again: %+v", again)
			}
			// A name that goes, one that comes, one that is a copy now.
			if err := os.Remove(filepath.Join(b.src, "site/a/first")); err != nil {
				t.Fatal(err)
			}
			b.link("site/x", "site/more")
			if err := os.Rename(b.write("new", noise(1, 50_000)), filepath.Join(b.src, "site/z")); err != nil {
				t.Fatal(err)
			}
			plan, err := Plan(t.Context(), b.st, withChannel(o))
			if err != nil {
				t.Fatal(err)
			}
			if got := paths(plan.Changed) + "; " + paths(plan.Added) + "; " + paths(plan.Deleted); got != "z; more; a/first" || plan.Transfer != 0 {
				t.Errorf("planned: %s, %d bytes", got, plan.Transfer)
			}
			next := b.publishLinked(o)
			if got := b.hardLinks(next); got != "nothing=none x=more" {
				t.Errorf("hard links %q", got)
			}
			// What is linked alone makes a release of its own.
			if err := os.Rename(b.write("new", noise(3, 1000)), filepath.Join(b.src, "site/more")); err != nil {
				t.Fatal(err)
			}
			if last := b.publishLinked(o); last.Unchanged || b.hardLinks(last) != "nothing=none" {
				t.Errorf("hard links %q, %+v", b.hardLinks(last), last)
			}
			b.checkAgain(res)
			b.checkAgain(next)
		})
	}
}

func withChannel(o Options) Options {
	o.Channel = "web"
	return o
}

// TestHardLinksAreTakenOver: files that have not changed are not read again, and
// their names are made anew.
func TestHardLinksAreTakenOver(t *testing.T) {
	b, o := linkedTree(t)
	first := b.publishLinked(o)
	b.write("site/new", noise(9, 10))
	next := b.publishLinked(o)
	if next.Kept != 6 || b.hardLinks(next) != b.hardLinks(first) {
		t.Errorf("%d files were kept, hard links %q", next.Kept, b.hardLinks(next))
	}
	if !os.SameFile(b.content(first, "z"), b.content(next, "m")) {
		t.Error("a file was copied")
	}
	back, err := Rollback(t.Context(), b.st, b.key, "web", 0, false, Options{})
	if err != nil {
		t.Fatal(err)
	}
	again := *first
	again.ID, again.Dir = back.ID, filepath.Join(filepath.Dir(first.Dir), back.ID)
	if got := b.hardLinks(&again); got != b.hardLinks(first) {
		t.Errorf("after a rollback: hard links %q", got)
	}
}

// TestHardLinkThatChanges: it is made while the tree is published.
func TestHardLinkThatChanges(t *testing.T) {
	b, o := linkedTree(t)
	o.Confirm = func() error { return nil }
	o.Progress = func(done, total int64) {
		if done == total {
			_ = os.Link(filepath.Join(b.src, "site/x"), filepath.Join(b.src, "site/late"))
		}
	}
	b.refused(withChannel(o), "changed")
}

func TestDocumentsOfHardLinks(t *testing.T) {
	b, o := linkedTree(t)
	o.PublicURL = "https://m"
	res := b.publishLinked(o)
	tor, err := torrentfile.Parse(b.meta(res, "site.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tor.Layout.Files) != 6 || tor.Layout.Total != 54_000 {
		t.Errorf("the torrent has %+v", tor.Layout.Files)
	}
	sums := string(b.meta(res, "SHA256SUMS"))
	for _, name := range []string{"site/a/first", "site/m", "site/z", "site/nothing"} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s:\n%s", name, sums)
		}
	}
	// By HTTP each name is a file; beside a torrent a further one is none.
	for doc, want := range map[string]int{"site.metalink": 9, "site.meta4": 6} {
		d, err := metalink.Parse(bytes.NewReader(b.meta(res, doc)))
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Files) != want {
			t.Errorf("%s lists %d files, want %d", doc, len(d.Files), want)
		}
	}
}

func TestDeltasOfHardLinks(t *testing.T) {
	b, o := linkedTree(t)
	o.DeltaBases = 1
	b.write("site/big", noise(7, 3<<20))
	b.link("site/big", "site/b/first")
	b.publishLinked(o)
	data := noise(7, 3<<20)
	data[1_000_000] ^= 1
	b.write("site/big", data) // all of its names
	res := b.publishLinked(o)
	m := b.manifest(res)
	if len(m.Deltas) != 1 || m.Deltas[0].Size > 1<<20 {
		t.Errorf("packs %+v", m.Deltas)
	}
}
