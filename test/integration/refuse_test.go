package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/internal/node"
	"distd/pkg/torrentfile"
)

// refusal is one way in which an upstream lies. Each has a channel of its own,
// called as it is, with a release of serial 1.
type refusal struct {
	name string
	lie  func(f *forge, rel *forged)
	want string // part of the message
	tree bool   // the release is a folder
	size int    // of the release in bytes, if it is not the usual one
	// staged says that pointer and manifest are good, so that the release may
	// lie in staging.
	staged bool
}

const released = 300_000 // bytes of a release, in pieces of 16 KiB

// lies about what is signed, and about torrents.
func documentLies(t *testing.T) []refusal {
	other, err := manifest.GenerateKey()
	must(t, err)
	return []refusal{
		{name: "pointer-flipped", want: "signature is not valid", lie: func(f *forge, rel *forged) { f.flip(rel.pointer, 0.5) }},
		{name: "pointer-signature", want: "signature is not valid", lie: func(f *forge, rel *forged) { f.set(rel.pointer+".minisig", []byte("good\n")) }},
		{name: "pointer-key", want: "signed by another key", lie: func(f *forge, rel *forged) { f.point(rel.Channel, rel.Pointer(rel.id), other) }},
		{name: "pointer-elsewhere", want: "is signed for channel", lie: func(f *forge, rel *forged) {
			p := rel.Pointer(rel.id)
			p.Channel = "web"
			f.point(rel.Channel, p, f.key)
		}},
		{name: "pointer-disagrees", want: "does not agree with manifest", lie: func(f *forge, rel *forged) {
			p := rel.Pointer(rel.id)
			p.Serial++
			f.point(rel.Channel, p, f.key)
		}},
		{name: "pointer-unknown-field", want: "unknown field", lie: func(f *forge, rel *forged) {
			f.replace(rel.pointer, "{", `{"also":1,`)
			f.set(rel.pointer+".minisig", manifest.Sign(f.key, f.get(rel.pointer), ""))
		}},
		{name: "pointer-endless", want: "too large", lie: func(f *forge, rel *forged) { f.answer(rel.pointer, endless) }},
		{name: "expired", want: "expired", lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) {
				m.Created, m.Expires = time.Unix(1e9, 0).UTC(), time.Unix(1e9+60, 0).UTC()
			})
		}},
		{name: "manifest-flipped", want: "are not the bytes of release", lie: func(f *forge, rel *forged) { f.flip(rel.base+"/manifest.json", 0.5) }},
		{name: "manifest-signature", want: "signature is not valid", lie: func(f *forge, rel *forged) { f.flip(rel.base+"/manifest.json.minisig", 0.5) }},
		{name: "manifest-key", want: "signed by another key", lie: func(f *forge, rel *forged) {
			f.set(rel.base+"/manifest.json.minisig", manifest.Sign(other, f.get(rel.base+"/manifest.json"), ""))
		}},
		{name: "manifest-endless", want: "too large", lie: func(f *forge, rel *forged) { f.answer(rel.base+"/manifest.json", endless) }},
		{name: "manifest-missing", want: "404", lie: func(f *forge, rel *forged) { f.answer(rel.base+"/manifest.json", http.NotFound) }},
		{name: "manifest-redirect", want: "redirect refused to http://127.9.9.9:1", lie: func(f *forge, rel *forged) {
			f.answer(rel.base+"/manifest.json", http.RedirectHandler("http://127.9.9.9:1/manifest.json", http.StatusFound).ServeHTTP)
		}},
		{name: "torrent-flipped", want: "its infohash is", lie: func(f *forge, rel *forged) { f.flip(rel.torrent(), 0.9) }},
		{name: "torrent-endless", want: "too large", lie: func(f *forge, rel *forged) { f.answer(rel.torrent(), endless) }},
		{name: "torrent-negative", want: "negative", lie: func(f *forge, rel *forged) { f.replace(rel.torrent(), "lengthi300000e", "lengthi-1e") }},
		{name: "torrent-huge", want: "range", lie: func(f *forge, rel *forged) {
			f.replace(rel.torrent(), "lengthi300000e", "lengthi99999999999999999999e")
		}},
		{name: "torrent-larger", want: "do not fit", lie: func(f *forge, rel *forged) {
			f.replace(rel.torrent(), "lengthi300000e", "lengthi1000000000000e")
		}},
		{name: "torrent-millions", want: "files, more than the limit of", lie: func(f *forge, rel *forged) { f.set(rel.torrent(), millionsOfFiles()) }},
		{name: "torrent-no-torrent", want: "bad bencode", lie: func(f *forge, rel *forged) { f.set(rel.torrent(), []byte("<html>")) }},
	}
}

func (r *forged) torrent() string { return r.base + "/" + r.Name + ".torrent" }

// millionsOfFiles is a torrent of one empty file more than is allowed.
func millionsOfFiles() []byte {
	var b strings.Builder
	b.WriteString("d4:infod5:filesl")
	for i := range torrentfile.MaxFiles + 1 {
		_, _ = fmt.Fprintf(&b, "d6:lengthi0e4:pathl7:%07xee", i)
	}
	b.WriteString("e4:name4:data12:piece lengthi16384e6:pieces0:ee")
	return []byte(b.String())
}

// endless answers and never stops.
func endless(w http.ResponseWriter, _ *http.Request) {
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = ' '
	}
	for {
		if _, err := w.Write(buf); err != nil {
			return
		}
	}
}

// lies about names, signed with the right key.
func nameLies() []refusal {
	var out []refusal
	for name, path := range map[string]string{
		"parent": "../evil", "parent-inside": "a/../../evil", "absolute": "/evil", "empty-element": "a//b", "dot": "a/./b", "backslash": `..\evil`,
		"control": "a\x01b", "nul": "a\x00b", "not-nfc": "e\u0301", "long-element": strings.Repeat("x", 256), "long-path": strings.Repeat(strings.Repeat("x", 200)+"/", 6) + "x",
		"deep": strings.Repeat("d/", 40) + "x", "case": "SECOND", "file-and-folder": "second/x",
	} {
		want := map[string]string{
			"control": "control character", "nul": "control character", "not-nfc": "NFC", "long-element": "longer than 255", "long-path": "longer than 1024",
			"deep": "deeper than 32", "case": "second", "file-and-folder": "second", "absolute": "empty", "empty-element": "empty", "backslash": "backslash",
		}[name]
		if want == "" {
			want = "is not allowed"
		}
		out = append(out, refusal{name: "name-" + name, want: want, tree: true, lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) { m.Files[0].Path = path })
		}})
	}
	for name, target := range map[string]string{"up": "../../../evil", "absolute": "/etc/passwd"} {
		out = append(out, refusal{name: "symlink-" + name, want: "symlink", tree: true, lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) {
				m.Files = append(m.Files, manifest.File{Path: "third", Symlink: target})
			})
		}})
	}
	return append(out,
		refusal{name: "release-name", want: "has a slash", lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) { m.Name, m.Files[0].Path = "../evil", "../evil" })
		}},
		refusal{name: "own-name", want: "distd's own", lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) { m.Name, m.Files[0].Path = ".distd", ".distd" })
		}},
		refusal{name: "negative-size", want: "negative", lie: func(f *forge, rel *forged) {
			f.resign(rel, func(m *manifest.Manifest) { m.Size, m.Files[0].Size = -1, -1 })
		}},
	)
}

// lies about the bytes themselves, told by a mirror.
func contentLies() []refusal {
	with := func(lie func(data []byte) http.HandlerFunc) func(*forge, *forged) {
		return func(f *forge, rel *forged) { f.answer(rel.content, lie(f.get(rel.content))) }
	}
	return []refusal{
		{name: "content-flipped", want: "did not verify", lie: func(f *forge, rel *forged) { f.flip(rel.content, 0.5) }},
		{name: "content-200", want: "200", lie: with(func(data []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("Range")
				serveBytes(w, r, data)
			}
		})},
		{name: "content-range", want: "as asked", lie: with(func(data []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				var from, to int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				from = max(from, 1)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from-1, to-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[from-1 : to])
			}
		})},
		{name: "content-size", want: "not 300000", lie: with(func(data []byte) http.HandlerFunc {
			longer := append(bytes.Clone(data), 0)
			return func(w http.ResponseWriter, r *http.Request) { serveBytes(w, r, longer) }
		})},
		{name: "content-etag", size: 8 << 20, want: "ETag was", lie: with(func(data []byte) http.HandlerFunc {
			var n atomic.Int64
			return func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("If-Range")
				w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, n.Add(1)))
				http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(string(data)))
			}
		})},
		{name: "content-redirect", want: "127.9.9.9:1", lie: with(func([]byte) http.HandlerFunc {
			return http.RedirectHandler("http://127.9.9.9:1/x", http.StatusFound).ServeHTTP
		})},
		{name: "content-encoded", want: "content encoding", lie: with(func(data []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				serveBytes(w, r, data)
			}
		})},
		{name: "content-endless", want: "longer than the range", lie: with(func(data []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				var from, to int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[from : to+1])
				endless(w, r)
			}
		})},
		{name: "content-short", want: "the file is another one here", lie: with(func(data []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes */1000")
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
		})},
	}
}

// TestRefusals has a seed follow an upstream that lies about each of many
// channels in another way, and tells the truth about one.
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	cases := slices.Concat(documentLies(t), nameLies(), contentLies())
	for i := range cases {
		cases[i].staged = strings.HasPrefix(cases[i].name, "content-")
	}
	channels := []string{"good"}
	lied := map[string]*forged{}
	for _, c := range cases {
		path, _ := payload(t, c.name+".bin", max(c.size, released))
		if c.tree {
			path, _ = tree(t, c.name, released)
			must(t, os.WriteFile(filepath.Join(path, "second"), []byte("2"), 0o644))
		}
		rel := f.publish(c.name, path)
		c.lie(f, rel)
		lied[c.name] = rel
		channels = append(channels, c.name)
	}
	path, data := payload(t, "good.bin", released)
	good := f.publish("good", path)
	hook, runs := countingHook(t)
	seed := f.seedOf(channels, "-hook="+hook)

	awaitFile(t, 20*time.Second, filepath.Join(seed.dir, "good.bin"), data)
	await(t, 5*time.Second, "the hook has run for the good release", func() bool { return len(runs()) == 1 })
	deadline := time.Now().Add(2 * time.Minute)
	for _, c := range cases {
		for !seed.says(`"channel":"`+c.name+`"`, c.want) {
			if time.Now().After(deadline) {
				t.Errorf("the seed does not say of %s: %s", c.name, c.want)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if len(runs()) != 1 {
		t.Errorf("hook runs %q, want the one of the good release", runs())
	}
	expectEntries(t, filepath.Dir(seed.dir), "seed")
	expectEntries(t, seed.dir, ".distd", "good.bin")
	expectEntries(t, filepath.Join(seed.dir, ".distd", "releases"), good.id)
	var pointers, staged = []string{"good"}, []string{}
	for _, c := range cases {
		if c.staged {
			pointers, staged = append(pointers, c.name), append(staged, lied[c.name].id)
		}
	}
	expectEntries(t, filepath.Join(seed.dir, ".distd", "channels"), pointers...)
	expectEntries(t, filepath.Join(seed.dir, ".distd", "staging"), staged...)
	s, err := seed.status()
	must(t, err)
	for _, ch := range s.Channels {
		if (ch.Live != "") != (ch.Name == "good") {
			t.Errorf("channel %s has the live release %q", ch.Name, ch.Live)
		}
	}
	for _, c := range cases {
		if problem := s.Upstream[0].Problems[c.name]; !c.staged && !strings.Contains(problem, c.want) {
			t.Errorf("status says of %s %q, want %q", c.name, problem, c.want)
		}
	}
}

// expectEntries checks what is in a folder.
func expectEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// TestChangeOfMind has an upstream that was good: it then offers what is older,
// signed by another key, or a second release under the same serial.
func TestChangeOfMind(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	channels := []string{"older", "rekeyed", "forked"}
	first, second := map[string]*forged{}, map[string]*forged{}
	data := map[string][]byte{}
	for _, c := range channels {
		path, _ := payload(t, c+".bin", released)
		first[c] = f.publish(c, path)
		path, data[c] = payload(t, c+".bin", released+1)
		second[c] = f.publish(c, path)
	}
	seed := f.seedOf(channels)
	for _, c := range channels {
		awaitFile(t, 20*time.Second, filepath.Join(seed.dir, c+".bin"), data[c])
	}
	other, err := manifest.GenerateKey()
	must(t, err)
	f.set("/publish.pub", other.Public().File())
	f.point("older", first["older"].Pointer(first["older"].id), f.key)
	rekeyed := second["rekeyed"].Pointer(second["rekeyed"].id)
	rekeyed.Serial++
	f.point("rekeyed", rekeyed, other)
	f.resign(second["forked"], func(m *manifest.Manifest) { m.Files[0].Mode = 0o600 })
	for c, want := range map[string]string{"older": "serial 1 is older than 2", "rekeyed": "signed by another key", "forked": "two releases with serial 2"} {
		await(t, 10*time.Second, "the seed says of "+c+": "+want, func() bool { return seed.says(`"channel":"`+c+`"`, want) })
		s, err := seed.status()
		must(t, err)
		if !strings.Contains(s.Upstream[0].Problems[c], want) {
			t.Errorf("status says of %s %q, want %q", c, s.Upstream[0].Problems[c], want)
		}
		for _, ch := range s.Channels {
			if ch.Name == c && (ch.Live != second[c].id || ch.Serial != 2) {
				t.Errorf("channel %s has serial %d and the live release %s, want 2 and %s", c, ch.Serial, ch.Live, second[c].id)
			}
		}
		awaitFile(t, time.Second, filepath.Join(seed.dir, c+".bin"), data[c])
	}
	expectEntries(t, seed.dir, ".distd", "forked.bin", "older.bin", "rekeyed.bin")

	// A node that knows the key from the start refuses another one's releases
	// though the upstream hands out that key as its own.
	f.point("rekeyed", second["rekeyed"].Pointer(second["rekeyed"].id), f.key)
	strict := f.seedOf([]string{"rekeyed"}, "-key="+other.Public().String())
	await(t, 10*time.Second, "a seed with another key refuses", func() bool {
		return strict.says(`"channel":"rekeyed"`, "signed by another key", "set -key")
	})
	expectEntries(t, strict.dir, ".distd")
	expectEntries(t, filepath.Join(strict.dir, ".distd", "staging"))
}

// TestOtherMirror has an upstream with bad bytes, and another mirror of the
// release that has the right ones.
func TestOtherMirror(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	path, data := payload(t, "site.tar", 4<<20)
	f.set("/elsewhere/site.tar", data)
	rel := f.publish("web", path, manifest.Mirror{URL: f.URL + "/elsewhere/site.tar", Preference: 100, Location: "elsewhere"})
	f.set(rel.content, make([]byte, len(data)))
	seed := f.seedOf([]string{"web"})
	awaitFile(t, 20*time.Second, filepath.Join(seed.dir, "site.tar"), data)
	r := seed.release("web", 1)
	if r.BadPieces == 0 {
		t.Errorf("no bad piece was counted: %+v", r)
	}
}

// TestSpoiltSeed has a seed whose copy was changed on the disk. The leaf takes
// no bad piece from it, and goes on when the copy is good again.
func TestSpoiltSeed(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	path, data := payload(t, "site.tar", 2<<20)
	p := master.publish("web", path)
	awaitFile(t, 20*time.Second, filepath.Join(seed.dir, "site.tar"), data)
	content := filepath.Join(seed.dir, ".distd", "releases", p.ID, "content", "site.tar")
	spoil := func(b byte) {
		file, err := os.OpenFile(content, os.O_WRONLY, 0)
		must(t, err)
		_, err = file.WriteAt([]byte{b}, 1<<20)
		must(t, err)
		must(t, file.Close())
	}
	spoil(data[1<<20] ^ 1)
	leaf := newLeaf(t, seed)
	await(t, 20*time.Second, "the leaf notices", func() bool { return leaf.says("peer sent bad bytes") })
	if r := leaf.release("web", 1); r.BadPieces == 0 || r.BytesLeft == 0 {
		t.Errorf("bad pieces %d, bytes left %d", r.BadPieces, r.BytesLeft)
	}
	expectEntries(t, leaf.dir, ".distd")
	if _, _, code := run(t, bin, "verify", "-dir="+seed.dir); code != node.ExDataErr {
		t.Errorf("verify on the seed: exit code %d, want %d", code, node.ExDataErr)
	}
	spoil(data[1<<20])
	leaf.kill9() // forgets whom it left alone, and for how long
	leaf.restart()
	awaitFile(t, 20*time.Second, filepath.Join(leaf.dir, "site.tar"), data)
}
