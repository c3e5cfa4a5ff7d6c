package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A channel's release that is fetched by its link has the hard links of its manifest,
// also over an earlier version; a torrent has no further names.
func TestFetchHardLinks(t *testing.T) {
	master, at := newMaster(t)
	tree := filepath.Join(t.TempDir(), "site")
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	serial := uint64(0)
	publish := func(links ...string) {
		t.Helper()
		defer func() { serial++; master.offers(serial) }()
		for _, l := range links {
			first, name, _ := strings.Cut(l, " ")
			_ = os.Remove(filepath.Join(tree, name))
			if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(filepath.Join(tree, first), filepath.Join(tree, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := master.Publish(t.Context(), PublishRequest{Path: tree, Channel: "web"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	same := func(a, b string, want bool) {
		t.Helper()
		x, err := os.Stat(filepath.Join(dir, "site", a))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.Stat(filepath.Join(dir, "site", b))
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(x, y) != want {
			t.Errorf("%s and %s are one file: %v", a, b, !want)
		}
	}
	link := master.channelLink("web")

	write("a", strings.Repeat("first", 50_000)+"old")
	write("b", "alone")
	write("none", "")
	publish("a d/e/a2", "none nothing")
	if err := fetchInto(t, dir, begins(at), link); err != nil {
		t.Fatal(err)
	}
	same("a", "d/e/a2", true)
	same("none", "nothing", true)
	wantFile(t, "a further name", filepath.Join(dir, "site/d/e/a2"), strings.Repeat("first", 50_000)+"old")

	write("a", strings.Repeat("first", 50_000)+"new") // under both names
	publish("b d/e/b2", "a c")
	if err := fetchInto(t, dir, begins(at), link); err != nil {
		t.Fatal(err)
	}
	same("a", "d/e/a2", true)
	same("a", "c", true)
	same("b", "d/e/b2", true)
	same("a", "b", false)
	wantFile(t, "the newer one", filepath.Join(dir, "site/d/e/a2"), strings.Repeat("first", 50_000)+"new")

	publish("b more") // the torrent is the same
	if err := fetchInto(t, dir, begins(at), link); err != nil {
		t.Fatal(err)
	}
	same("b", "more", true)
	mine := filepath.Join(dir, "site/other")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	publish("b other")
	if err := fetchInto(t, dir, begins(at), link); err != nil {
		t.Fatal(err)
	}
	wantFile(t, "the operator's", mine, "mine")
	if err := fetchInto(t, dir, func(o *FetchOptions) { begins(at)(o); o.Overwrite = true }, link); err != nil {
		t.Fatal(err)
	}
	same("b", "other", true)

	dir = t.TempDir()
	torrent := filepath.Join(master.store.Dir(), ".distd/releases", master.newestID(t), "site.torrent")
	if err := fetchInto(t, dir, begins(at), torrent); err != nil {
		t.Fatal(err)
	}
	wantFile(t, "from the torrent", filepath.Join(dir, "site/a"), strings.Repeat("first", 50_000)+"new")
	if _, err := os.Stat(filepath.Join(dir, "site/c")); err == nil {
		t.Error("a torrent has further names")
	}
}

func (r *running) newestID(t *testing.T) string {
	t.Helper()
	_, _, p, err := r.store.Pointer("web")
	if err != nil {
		t.Fatal(err)
	}
	return p.Manifest
}
