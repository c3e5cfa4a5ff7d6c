package manifest

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// TestShare: equal strings are one in memory afterwards, and nothing says anything
// else than before.
func TestShare(t *testing.T) {
	fresh := func(s string) string { return strings.Clone(s) }
	list := func(files map[string]string, paths ...string) *Manifest {
		m := &Manifest{Dirs: []Dir{{Path: "."}, {Path: fresh("dir")}}}
		for _, p := range paths {
			m.Files = append(m.Files, File{Path: fresh(p), SHA256: fresh(files[p]), MD5: fresh("m")})
		}
		return m
	}
	o := list(map[string]string{"a": "1", "b": "2", "d": "4"}, "a", "b", "d")
	m := list(map[string]string{"0": "0", "a": "1", "b": "other", "c": "3", "d": "4", "e": "5"}, "0", "a", "b", "c", "d", "e")
	want := list(map[string]string{"0": "0", "a": "1", "b": "other", "c": "3", "d": "4", "e": "5"}, "0", "a", "b", "c", "d", "e")
	m.Share(o)
	if diff := cmp.Diff(want, m); diff != "" {
		t.Fatalf("changed (-want +got):\n%s", diff)
	}
	same := func(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }
	for _, p := range []struct{ m, o int }{{1, 0}, {2, 1}, {4, 2}} {
		f, g := m.Files[p.m], o.Files[p.o]
		if !same(f.Path, g.Path) || !same(f.MD5, g.MD5) || same(f.SHA256, g.SHA256) != (f.SHA256 == g.SHA256) {
			t.Errorf("%s is not shared", f.Path)
		}
	}
	if !same(m.Dirs[1].Path, o.Dirs[1].Path) {
		t.Error("the folder is not shared")
	}
}
