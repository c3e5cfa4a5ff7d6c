package serve

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/manifest"
)

// TestDeltaAtMost: a pack that is larger than what the client takes is not sent,
// and one of a release that is still fetched only when it is whole.
func TestDeltaAtMost(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	base := strings.Repeat("1", 64)
	rel.Manifest.Deltas = []manifest.Delta{{Base: base, Size: 10}}
	rel.Complete = false
	s := newServer(t, Config{Catalog: c})
	path := "/releases/" + rel.ID + "/delta/" + base
	file := filepath.Join(rel.Dir, "delta", base)
	put(t, file, []byte("0123456789"))
	if r := ask(s, "GET", path); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a pack that may not be whole: %d", r.StatusCode)
	}
	rel.NoPack = func(b string) bool { return b == base }
	if r := ask(s, "GET", path); r.StatusCode != http.StatusNotFound {
		t.Errorf("a pack that will not come: %d", r.StatusCode)
	}
	rel.NoPack = func(string) bool { return false }
	if r := ask(s, "GET", path); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a pack that may come: %d", r.StatusCode)
	}
	rel.NoPack = func(string) bool { return true } // which does not hold for one that is here
	put(t, file+".torrent", []byte("d4:infodee"))
	for most, want := range map[string]int{"": 200, "9": 413, "10": 200, "x": 200, "-1": 413, "99999999999999999999": 200} {
		var header []string
		if most != "" {
			header = []string{manifest.HeaderAtMost, most}
		}
		r := ask(s, "GET", path, header...)
		if b := body(t, r); r.StatusCode != want || (b == "0123456789") != (want == 200) {
			t.Errorf("at most %q: %d %q", most, r.StatusCode, b)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r := ask(s, "GET", path); r.StatusCode != http.StatusNotFound {
		t.Errorf("a pack that is gone: %d", r.StatusCode)
	}
}
