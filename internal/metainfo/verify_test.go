package metainfo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/pkg/torrentfile"
)

func verify(t *testing.T, tor *torrentfile.Torrent, path string) *Check {
	t.Helper()
	c, err := Verify(t.Context(), tor, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// farm is a folder with a tree of which the first two files fill three pieces
// of 16 KiB exactly, and the others share pieces.
func farm(t *testing.T) (dir string, m *Made) {
	dir = t.TempDir()
	write(t, dir+"/web/a", pattern(1, 32768))
	write(t, dir+"/web/b/x", pattern(2, 16384))
	write(t, dir+"/web/c", pattern(3, 10000))
	write(t, dir+"/web/d", pattern(4, 10000))
	write(t, dir+"/web/e", nil)
	return dir, create(t, Options{Path: dir + "/web", PieceLength: 16384})
}

// TestVerify damages a tree in every way and looks at what is said about it.
func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(dir string) error
		pieces []PieceRange
		want   []FileProblem
	}{
		{"nothing", func(string) error { return nil }, []PieceRange{}, []FileProblem{}},
		{"a bit", func(dir string) error { return flip(dir+"/web/a", 20000) },
			[]PieceRange{{1, 1}}, []FileProblem{{Path: "web/a", Problem: Differs, Length: 32768, Bad: 1, First: 1}}},
		{"a bit in a shared piece", func(dir string) error { return flip(dir+"/web/c", 5) },
			[]PieceRange{{3, 3}}, []FileProblem{
				{Path: "web/c", Problem: Unclear, Length: 10000, Bad: 1, First: 3}, {Path: "web/d", Problem: Unclear, Length: 10000, Bad: 1, First: 3}}},
		{"the end", func(dir string) error { return flip(dir+"/web/d", 9999) },
			[]PieceRange{{4, 4}}, []FileProblem{{Path: "web/d", Problem: Differs, Length: 10000, Bad: 1, First: 4}}},
		{"missing", func(dir string) error { return os.Remove(dir + "/web/a") },
			[]PieceRange{{0, 1}}, []FileProblem{{Path: "web/a", Problem: Missing, Length: 32768, Bad: 2}}},
		{"an empty one is missing", func(dir string) error { return os.Remove(dir + "/web/e") },
			[]PieceRange{}, []FileProblem{{Path: "web/e", Problem: Missing, First: -1}}},
		{"short", func(dir string) error { return os.Truncate(dir+"/web/a", 17000) },
			[]PieceRange{{1, 1}}, []FileProblem{{Path: "web/a", Problem: WrongSize, Size: 17000, Length: 32768, Bad: 1, First: 1}}},
		{"long", func(dir string) error {
			return os.WriteFile(dir+"/web/b/x", append(pattern(2, 16384), 'x'), 0o644)
		}, []PieceRange{}, []FileProblem{{Path: "web/b/x", Problem: WrongSize, Size: 16385, Length: 16384, First: -1}}},
		{"a folder in its place", func(dir string) error {
			return errors.Join(os.Remove(dir+"/web/b/x"), os.Mkdir(dir+"/web/b/x", 0o755))
		}, []PieceRange{{2, 2}}, []FileProblem{{Path: "web/b/x", Problem: Unreadable, Error: "it is no file", Length: 16384, Bad: 1, First: 2}}},
		{"two", func(dir string) error {
			return errors.Join(flip(dir+"/web/a", 0), os.Remove(dir+"/web/b/x"))
		}, []PieceRange{{0, 0}, {2, 2}}, []FileProblem{
			{Path: "web/a", Problem: Differs, Length: 32768, Bad: 1}, {Path: "web/b/x", Problem: Missing, Length: 16384, Bad: 1, First: 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, m := farm(t)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			got := verify(t, m.Torrent, dir)
			if d := cmp.Diff(c.pieces, got.BadPieces); d != "" {
				t.Errorf("bad pieces (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.want, got.Problems); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
			if got.Good != (len(c.want) == 0) || got.Pieces != 5 || got.Files != 5 {
				t.Errorf("it is %+v", got)
			}
		})
	}
}

func flip(path string, off int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[off] ^= 1
	return os.WriteFile(path, b, 0o644)
}

// TestLocate: the content is found as itself and in the folder that holds it.
func TestLocate(t *testing.T) {
	dir, tree := farm(t)
	write(t, dir+"/f", pattern(1, 100))
	file := create(t, Options{Path: dir + "/f"})
	write(t, dir+"/other", pattern(1, 100))
	if err := os.CopyFS(dir+"/renamed", os.DirFS(dir+"/web")); err != nil {
		t.Fatal(err)
	}
	// A tree that holds a folder of its own name.
	write(t, dir+"/nested/web/web/y", pattern(9, 5))
	write(t, dir+"/nested/web/z", pattern(9, 5))
	nested := create(t, Options{Path: dir + "/nested/web"})
	write(t, dir+"/strange/x", nil)
	if err := os.MkdirAll(dir+"/empty/web", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		t          *Made
		path, want string
		good       bool
	}{
		{file, "/f", "/f", true}, {file, "", "/f", true}, {file, "/other", "/other", true},
		{tree, "", "/web", true}, {tree, "/web", "/web", true}, {tree, "/renamed", "/renamed", true},
		{nested, "/nested", "/nested/web", true}, {nested, "/nested/web", "/nested/web", true},
		{tree, "/empty", "/empty/web", false}, {tree, "/empty/web", "/empty/web", false},
	} {
		got := verify(t, c.t.Torrent, dir+c.path)
		if got.Path != dir+c.want || got.Good != c.good {
			t.Errorf("%s at %q: taken was %q, good %t; want %q, %t", c.t.Name, c.path, got.Path, got.Good, c.want, c.good)
		}
	}
	for _, c := range []struct {
		t    *Made
		path string
		is   error
	}{{tree, "/f", ErrContent}, {tree, "/strange", ErrContent}, {tree, "/nowhere", fs.ErrNotExist}, {file, "/empty", fs.ErrNotExist}} {
		if _, err := Verify(t.Context(), c.t.Torrent, dir+c.path, nil); !errors.Is(err, c.is) {
			t.Errorf("%s at %q: error %v, want %v", c.t.Name, c.path, err, c.is)
		}
	}
}

// TestVerifyPadding: padding files are zeros that need not be on disk.
func TestVerifyPadding(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/w/a", pattern(1, 10))
	write(t, dir+"/w/b", pattern(2, 20))
	whole := create(t, Options{Path: dir + "/w", PieceLength: 16384})
	padded := bytes.Join([][]byte{pattern(1, 10), make([]byte, 16374), pattern(2, 20)}, nil)
	write(t, dir+"/p", padded)
	pieces := create(t, Options{Path: dir + "/p", PieceLength: 16384}).Pieces
	info := "d5:filesld6:lengthi10e4:pathl1:aeed4:attr1:p6:lengthi16374e4:pathl4:.pad5:16374eed6:lengthi20e4:pathl1:beee4:name1:w12:piece lengthi16384e6:pieces40:" +
		string(pieces) + "e"
	tor, err := torrentfile.ParseInfo([]byte(info))
	if err != nil {
		t.Fatal(err)
	}
	if c := verify(t, tor, dir+"/w"); !c.Good || c.Files != 2 || c.Pieces != 2 {
		t.Errorf("it is %+v", c)
	}
	if err := flip(dir+"/w/a", 3); err != nil {
		t.Fatal(err)
	}
	if c := verify(t, tor, dir+"/w"); c.Good || len(c.Problems) != 1 || c.Problems[0].Problem != Differs {
		t.Errorf("it is %+v", c) // no file but a has a part of the piece
	}
	d := Describe(tor, true)
	if d.Size != 30 || d.Padding != 16374 || d.Files != 2 || len(d.FileList) != 2 || d.FileList[1].Path != "w/b" {
		t.Errorf("it is described as %+v", d)
	}
	if d := Describe(whole.Torrent, false); d.FileList != nil || d.Files != 2 || d.Padding != 0 {
		t.Errorf("it is described as %+v", d)
	}
}

func TestVerifyStops(t *testing.T) {
	dir := fixture(t)
	m := create(t, Options{Path: dir + "/site.tar", PieceLength: 16384})
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Verify(ctx, m.Torrent, dir, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestMagnet(t *testing.T) {
	m := create(t, Options{Path: fixture(t) + "/empty.bin", Announce: [][]string{{"http://a/x?y=1"}}, WebSeeds: []string{"http://w/a b"}})
	m.Name = "a & b+c"
	want := "magnet:?xt=urn:btih:3a350407cd036efebc0cd599861f2d544bd2f3f1&dn=a%20%26%20b%2Bc&tr=http%3A%2F%2Fa%2Fx%3Fy%3D1&ws=http%3A%2F%2Fw%2Fa%20b"
	if got := Describe(m.Torrent, false).Magnet; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(strings.NewReader("de"), "x"); !errors.Is(err, ErrMalformed) || !strings.HasPrefix(err.Error(), "x: ") {
		t.Errorf("error %v", err)
	}
	if _, err := Load(t.TempDir() + "/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
