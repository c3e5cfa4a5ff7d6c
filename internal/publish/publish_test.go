package publish

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

func TestFile(t *testing.T) {
	b := newBench(t)
	for _, size := range []int{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 1 << 20, 3<<20 + 7} {
		data := noise(1, size)
		res := b.publish(Options{Path: b.write("site.tar", data), MD5: true})
		if res.Size != int64(size) || res.Files != 1 || res.Name != "site.tar" || res.Pieces != (size+16<<10-1)/(16<<10) {
			t.Errorf("size %d: result %+v", size, res)
		}
		r, err := b.st.Release(res.ID)
		if err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(data)
		if got := r.Manifest.Files[0].MD5; got != hex.EncodeToString(sum[:]) {
			t.Errorf("size %d: MD5 %s", size, got)
		}
	}
}

func TestTree(t *testing.T) {
	b := newBench(t)
	top := b.mkdir("webroot")
	b.write("webroot/index.html", []byte("<html>"))
	b.write("webroot/empty", nil)
	b.write("webroot/a.txt", noise(2, 100))
	b.write("webroot/a/b/c/big", noise(3, 2<<20+5))
	b.write("webroot/Größe/日本語 & <x>.bin", noise(4, 40<<10))
	b.write("webroot/zz", noise(5, 16<<10))
	b.mkdir("webroot/hollow/inner")
	b.symlink("../a/b", "webroot/hollow/link")
	b.symlink("no such file", "webroot/dangling")
	for p, mode := range map[string]os.FileMode{"webroot/a.txt": 0o600, "webroot/index.html": 0o755, "webroot/hollow/inner": 0o711, "webroot": 0o750, "webroot/a/b": 0o555} {
		if err := os.Chmod(filepath.Join(b.src, p), mode); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Date(1969, 5, 4, 3, 2, 1, 987654321, time.UTC)
	if err := os.Chtimes(filepath.Join(b.src, "webroot/a.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	res := b.publish(Options{Path: top})
	if res.Files != 6 || res.Name != "webroot" {
		t.Errorf("result %+v", res)
	}
	// Later changes of the source do not reach the release.
	b.write("webroot/index.html", []byte("<HTML>"))
	data, err := os.ReadFile(filepath.Join(res.Dir, "content/webroot/index.html"))
	if err != nil || string(data) != "<html>" {
		t.Errorf("release has %q after its source changed, %v", data, err)
	}
}

func TestOnlyEmptyFiles(t *testing.T) {
	b := newBench(t)
	top := b.mkdir("tree")
	b.write("tree/a/x", nil)
	b.write("tree/y", nil)
	done := int64(-1)
	res := b.publish(Options{Path: top, Progress: func(d, _ int64) { done = d }})
	if res.Pieces != 0 || res.Size != 0 || done != 0 {
		t.Errorf("result %+v, progress %d", res, done)
	}
}

// TestFoldersBeforeDot: folders whose names sort before that of the tree's own
// folder, ".", are made all the same.
func TestFoldersBeforeDot(t *testing.T) {
	b := newBench(t)
	for _, dir := range []string{" x", "!", "#/a", "+c/-d", "-", "a"} {
		b.write("tree/"+dir+"/file", []byte(dir))
	}
	o := Options{Path: filepath.Join(b.src, "tree"), Channel: "web"}
	b.check(b.publish(o), o)
}

// TestAfter: a release follows that of another place, and the newest one here
// is good enough only when it does too.
func TestAfter(t *testing.T) {
	b := newBench(t)
	o := Options{Path: b.write("site.tar", noise(1, 1000)), Channel: "web"}
	first := b.publish(o)
	o.After = &manifest.Pointer{Serial: 1, Manifest: first.ID}
	if res := b.publish(o); !res.Unchanged || res.Serial != 1 {
		t.Errorf("after itself: %+v", res)
	}
	o.After = &manifest.Pointer{Serial: 7, Manifest: "another"}
	if res := b.publish(o); res.Unchanged || res.Serial != 8 {
		t.Errorf("after serial 7: %+v, want serial 8", res)
	}
	o.After.Serial = 3
	if res := b.publish(o); !res.Unchanged || res.Serial != 8 {
		t.Errorf("after serial 3: %+v, want 8 unchanged", res)
	}
}

func TestNames(t *testing.T) {
	b := newBench(t)
	file := b.write("site.tar", noise(1, 10))
	if res := b.publish(Options{Path: file, Name: "other.tar"}); res.Name != "other.tar" {
		t.Errorf("name %q", res.Name)
	}
	tree := b.mkdir("v1")
	b.write("v1/f", noise(2, 10))
	b.symlink("v1", "current")
	if res := b.publish(Options{Path: filepath.Join(b.src, "current")}); res.Name != "current" {
		t.Errorf("name %q", res.Name)
	}
	t.Chdir(tree)
	if res := b.publish(Options{Path: ".", Channel: "dot"}); res.Name != "v1" {
		t.Errorf("name %q", res.Name)
	}
}

func TestSerialsGrow(t *testing.T) {
	b := newBench(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)
	o := Options{Path: b.write("f", noise(1, 10)), Now: func() time.Time { return now }, Expires: time.Hour}
	if res := b.publish(o); res.Serial != 1 {
		t.Errorf("first serial %d", res.Serial)
	}
	if err := b.st.RaiseSerial("web", 41); err != nil {
		t.Fatal(err)
	}
	b.write("f", noise(2, 10))
	if res := b.publish(o); res.Serial != 42 {
		t.Errorf("serial %d after one of 41 was seen", res.Serial)
	}
	o.Channel = "other"
	if res := b.publish(o); res.Serial != 1 {
		t.Errorf("first serial of another channel %d", res.Serial)
	}
}

func TestUnchanged(t *testing.T) {
	b := newBench(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	top := b.mkdir("tree")
	f := b.write("tree/a/f", noise(1, 100<<10))
	b.symlink("a/f", "tree/link")
	o := Options{Path: top, Expires: time.Hour, Now: func() time.Time { return now }}
	first := b.publish(o)
	again := func(what string, want bool) *Result {
		t.Helper()
		res := b.publish(o)
		if res.Unchanged != want {
			t.Errorf("%s: unchanged is %v", what, res.Unchanged)
		}
		return res
	}
	if err := os.Chtimes(f, now, now); err != nil {
		t.Fatal(err)
	}
	if res := again("other time", true); res.ID != first.ID || res.Serial != 1 || res.Dir != first.Dir {
		t.Errorf("result %+v, want that of %+v", res, first)
	}
	o.PieceLength = 1 << 10
	again("other piece length", true)
	o.Force = true
	if res := again("forced", false); res.Serial != 2 {
		t.Errorf("serial %d", res.Serial)
	}
	o.Force = false
	again("after force", true)
	if err := os.Chmod(f, 0o600); err != nil {
		t.Fatal(err)
	}
	again("mode", false)
	if err := os.Chmod(filepath.Dir(f), 0o700); err != nil {
		t.Fatal(err)
	}
	again("mode of folder", false)
	b.mkdir("tree/new")
	again("empty folder", false)
	if err := os.Remove(filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	b.symlink("a/../a/f", "tree/x")
	b.refused(o, "may leave")
	if err := os.Rename(filepath.Join(top, "x"), filepath.Join(b.src, "x")); err != nil {
		t.Fatal(err)
	}
	b.symlink("a", "tree/link")
	again("symlink", false)
	again("nothing", true)
	now = now.Add(time.Hour + time.Second)
	again("expired", false)
	o.Name = "renamed"
	again("name", false)
	key, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b.key = key
	again("key", false)
}

func TestDocuments(t *testing.T) {
	b := newBench(t)
	o := Options{
		Path: b.write("a b.tar", noise(1, 50<<10)), MD5: true, PublicURL: "https://bt.master:8443/",
		Trackers: [][]string{{"http://bt.local.dc:6969/announce"}, {"udp://bt.local.dc:6969"}},
		Mirrors: []manifest.Mirror{
			{URL: "https://cdn.example/pub/", Preference: 100, Location: "external"},
			{URL: "http://bt.internal/files/renamed.tar", Preference: 10, Location: "internal"},
		},
	}
	res := b.publish(o)
	own := "https://bt.master:8443/releases/" + res.ID + "/"
	tor, err := torrentfile.Parse(b.meta(res, "a b.tar.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(tor.WebSeeds, " "), own+"content/a%20b.tar https://cdn.example/pub/a%20b.tar"; got != want {
		t.Errorf("web seeds %s, want %s", got, want)
	}
	if len(tor.Announce) != 2 || tor.Announce[1][0] != "udp://bt.local.dc:6969" {
		t.Errorf("trackers %v", tor.Announce)
	}
	for _, name := range []string{"a b.tar.metalink", "a b.tar.meta4"} {
		d, err := metalink.Parse(bytes.NewReader(b.meta(res, name)))
		if err != nil {
			t.Fatal(err)
		}
		f := d.Files[0]
		tiers := f.Tiers()
		if f.Name != "a b.tar" || f.Size != 50<<10 || f.Hashes["md5"] == "" || f.Pieces == nil || len(f.Pieces.Hashes) != 4 || len(tiers) != 2 {
			t.Errorf("%s: %+v", name, f)
		}
		if tiers[0][0].URL != own+"content/a%20b.tar" || tiers[0][1].URL != "https://cdn.example/pub/a%20b.tar" || tiers[1][0].URL != "http://bt.internal/files/renamed.tar" || tiers[1][0].Priority != 91 {
			t.Errorf("%s: tiers %+v", name, tiers)
		}
		if len(f.Torrents) != 1 || f.Torrents[0].URL != own+"a%20b.tar.torrent" {
			t.Errorf("%s: torrents %+v", name, f.Torrents)
		}
	}
}

func TestDocumentsOfTree(t *testing.T) {
	b := newBench(t)
	b.write("tree/x y/f", noise(1, 10))
	b.symlink("x y", "tree/link")
	res := b.publish(Options{
		Path: filepath.Join(b.src, "tree"), PublicURL: "https://m",
		Mirrors: []manifest.Mirror{{URL: "https://cdn.example/pub/", Preference: 100}, {URL: "https://cdn.example/elsewhere", Preference: 100}},
	})
	tor, err := torrentfile.Parse(b.meta(res, "tree.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(tor.WebSeeds, " "), "https://m/releases/"+res.ID+"/content/ https://cdn.example/pub/"; got != want {
		t.Errorf("web seeds %s, want %s", got, want)
	}
	for name, torrents := range map[string]int{"tree.metalink": 0, "tree.meta4": 1} {
		d, err := metalink.Parse(bytes.NewReader(b.meta(res, name)))
		if err != nil {
			t.Fatal(err)
		}
		f := d.Files[0]
		if len(d.Files) != 1 || f.Name != "tree/x y/f" || f.Pieces != nil || len(f.Torrents) != torrents || len(f.URLs) != 3 ||
			f.URLs[1].URL != "https://cdn.example/pub/tree/x%20y/f" || f.URLs[2].URL != "https://cdn.example/elsewhere/x%20y/f" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestBadOptions(t *testing.T) {
	b := newBench(t)
	file := b.write("f", noise(1, 10))
	mirror := func(m manifest.Mirror) Options { return Options{Path: file, Mirrors: []manifest.Mirror{m}} }
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "no path"},
		{Options{Path: file, Channel: "No Good"}, "channel"},
		{Options{Path: file, Name: "a/b"}, "-name"},
		{Options{Path: file, Name: ".distd-x"}, "-name"},
		{Options{Path: file, Name: strings.Repeat("n", 250)}, "shorter"},
		{Options{Path: file, PieceLength: 1000}, "power of two"},
		{Options{Path: file, PieceLength: 128 << 20}, "power of two"},
		{Options{Path: file, Expires: -time.Hour}, "expires"},
		{Options{Path: file, PublicURL: "ftp://x"}, "public URL"},
		{Options{Path: file, Trackers: [][]string{{"htp://x"}}}, "tracker"},
		{mirror(manifest.Mirror{URL: "ftp://x/", Preference: 1}), "ftp://x/"},
		{mirror(manifest.Mirror{URL: "http://x/", Preference: 101}), "preference"},
		{Options{Path: filepath.Join(b.src, "none")}, "no such file"},
		{Options{Path: b.mkdir("hollow")}, "no file in it"},
		{Options{Path: "/dev/null"}, "character device"},
	} {
		b.refused(c.o, c.want)
	}
}
