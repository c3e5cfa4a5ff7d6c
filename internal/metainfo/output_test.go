package metainfo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct{ path, target, want string }{
		{"a/f", "", "a/f.torrent"}, {"a/d/", "", "a/d.torrent"}, {"d//", "", "d.torrent"}, {"/x/f", "", "/x/f.torrent"},
		{".", "", dir + ".torrent"}, {"a/..", "", dir + ".torrent"}, {"f", "t", "t"}, {"a/f", dir, dir + "/f.torrent"}, {".", dir, dir + "/" + filepath.Base(dir) + ".torrent"},
	} {
		got, err := Output(c.path, c.target)
		if err != nil || got != c.want {
			t.Errorf("Output(%q, %q) = %q, %v; want %q", c.path, c.target, got, err, c.want)
		}
	}
}

func TestCheckOutput(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", nil)
	link(t, "f", dir+"/l")
	for path, want := range map[string]error{
		"f.torrent": nil, "f": ErrOptions, "l": ErrOptions, ".": ErrOptions, "no/f.torrent": ErrOutput,
	} {
		if err := CheckOutput(filepath.Join(dir, path), dir+"/f"); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: error %v, want %v", path, err, want)
		}
	}
	var p *fs.PathError
	if err := CheckOutput(dir+"/f/x", dir+"/f"); !errors.As(err, &p) {
		t.Errorf("a file as folder: error %v", err)
	}
}

// TestWrite: what was there is replaced, through symlinks too, and nothing is
// left beside it.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/real/f", []byte("old and longer"))
	link(t, "real/f", dir+"/l")
	for _, path := range []string{"l", "new"} {
		if err := Write(dir+"/"+path, []byte("new")); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(dir + "/" + path); err != nil || string(b) != "new" {
			t.Errorf("%s: it has %q, %v", path, b, err)
		}
	}
	if b, err := os.ReadFile(dir + "/real/f"); err != nil || string(b) != "new" {
		t.Errorf("behind the symlink is %q, %v", b, err)
	}
	if err := Write("/dev/null", []byte("new")); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat("/dev/null"); err != nil || st.Mode().IsRegular() {
		t.Errorf("/dev/null is %v, %v", st.Mode(), err)
	}
	for _, d := range []string{dir, dir + "/real"} {
		list, err := os.ReadDir(d)
		if err != nil || d == dir && len(list) != 3 || d != dir && len(list) != 1 {
			t.Errorf("in %s there is %v, %v", d, list, err)
		}
	}
	if err := Write(dir+"/no/f", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
