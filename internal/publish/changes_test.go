package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distd/internal/manifest"
)

func paths(list []Change) string {
	var out []string
	for _, c := range list {
		if c.From != "" {
			c.Path += "<" + c.From
		}
		out = append(out, c.Path)
	}
	return strings.Join(out, " ")
}

func TestCompare(t *testing.T) {
	file := func(path, sum string, size int64) manifest.File {
		return manifest.File{Path: path, SHA256: sum, Size: size, Mode: 0o644}
	}
	before := &manifest.Manifest{Serial: 7, Dirs: []manifest.Dir{{Path: ".", Mode: 0o755}, {Path: "d", Mode: 0o755}}, Files: []manifest.File{
		file("a", "1", 1), file("b", "2", 2), file("c", "3", 4), file("d/e", "4", 8), file("empty", "0", 0), file("m", "5", 16), {Path: "s", Symlink: "a"},
	}}
	mode := file("m", "5", 16)
	mode.Mode = 0o755
	now := &manifest.Manifest{Channel: "web", Dirs: []manifest.Dir{{Path: ".", Mode: 0o755}, {Path: "d", Mode: 0o700}}, Files: []manifest.File{
		file("a", "1", 1), file("again", "1", 1), file("b", "6", 32), file("d/moved", "4", 8), mode, file("new", "7", 64), file("new2", "7", 64), file("other", "0", 0), {Path: "s", Symlink: "b"},
	}}
	c := Compare(before, now)
	for what, got := range map[string][2]string{
		"added": {paths(c.Added), "again new new2 other"}, "changed": {paths(c.Changed), "b s"}, "moved": {paths(c.Moved), "d/moved<d/e"},
		"deleted": {paths(c.Deleted), "c empty"}, "modes": {paths(c.Modes), "m<0644 d/<0755"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %q, want %q", what, got[0], got[1])
		}
	}
	if c.Transfer != 32+64 || c.Previous != 7 {
		t.Errorf("%+v", c)
	}
	c = Compare(nil, now)
	if len(c.Added) != len(now.Files) || len(c.Deleted) > 0 || c.Transfer != 1+32+8+16+64 {
		t.Errorf("without a release before: %+v", c)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		deleted, before int
		limit           *MaxDelete
		held            bool
	}{
		{1000, 1000, nil, false},
		{50, 100, &MaxDelete{10, true}, false}, // few files
		{50, 101, &MaxDelete{50, true}, false},
		{51, 101, &MaxDelete{50, true}, true},
		{1, 200, &MaxDelete{0, true}, true},
		{1, 2, &MaxDelete{0, false}, true},
		{5, 6, &MaxDelete{5, false}, false},
		{6, 6000, &MaxDelete{5, false}, true},
	} {
		x := &Changes{before: c.before, Deleted: make([]Change, c.deleted)}
		if err := x.Allowed(c.limit); errors.Is(err, ErrManyDeleted) != c.held || (err != nil) != c.held {
			t.Errorf("%d of %d with %v: %v", c.deleted, c.before, c.limit, err)
		}
	}
}

func TestHeldBack(t *testing.T) {
	b := newBench(t)
	for i := range 120 {
		b.write(fmt.Sprintf("site/d%d/f%03d", i/60, i), noise(byte(i), 100))
	}
	o := Options{Path: filepath.Join(b.src, "site"), MaxDelete: &MaxDelete{30, true}}
	b.publish(o)
	if err := os.Rename(filepath.Join(o.Path, "d0"), filepath.Join(o.Path, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Path, "d1")); err != nil {
		t.Fatal(err)
	}
	if err := b.refused(o, "60 of the 120 files", "d1/f060", "and 50 more", "-max-delete=none"); !errors.Is(err, ErrManyDeleted) {
		t.Error(err)
	}
	c, err := Plan(t.Context(), b.st, o.in("web"))
	if err != nil || len(c.Deleted) != 60 || len(c.Moved) != 60 || c.Transfer != 0 || len(c.Warnings) != 2 || c.before != 120 {
		t.Fatalf("%+v, %v", c, err)
	}
	o.MaxDelete = nil
	if res := b.publish(o); res.Serial != 2 {
		t.Errorf("%+v", res)
	}
}

func (o Options) in(channel string) Options {
	o.Channel = channel
	return o
}

// TestPlan: what is shown is what is published, and nothing is left behind.
func TestPlan(t *testing.T) {
	b, o, _ := settled(t)
	b.write("site/d0/f01", noise(77, 5000))
	b.write("site/new", noise(78, 6000))
	before := list(t, b.st.Dir())
	for _, checksum := range []bool{false, true} {
		o.Checksum, o.MD5 = checksum, checksum
		c, err := Plan(t.Context(), b.st, o.in("web"))
		if err != nil || paths(c.Added) != "new" || paths(c.Changed) != "d0/f01" || len(c.Deleted)+len(c.Moved)+len(c.Modes) > 0 || c.Transfer != 11000 {
			t.Errorf("%+v, %v", c, err)
		}
	}
	for p, what := range list(t, b.st.Dir()) {
		if before[p] != what {
			t.Errorf("%s is %s, was %s", p, what, before[p])
		}
	}
	if c, err := Plan(t.Context(), b.st, o.in("fresh")); err != nil || c.Previous != 0 || len(c.Added) != 34 {
		t.Errorf("%+v, %v", c, err)
	}
	b.symlink("/etc/passwd", "site/out")
	if _, err := Plan(t.Context(), b.st, o.in("web")); err == nil || !strings.Contains(err.Error(), "symlink") {
		t.Errorf("what cannot be published is shown: %v", err)
	}
	if !slices.Equal(b.st.Channels(), []string{"web"}) {
		t.Errorf("channels: %v", b.st.Channels())
	}
}
