package netlab

import (
	"bytes"
	"crypto/sha1"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/torrentfile"
)

// twoFiles is content of two files whose third piece lies in both.
func twoFiles(t *testing.T) *Content {
	t.Helper()
	const piece = 1 << 10
	l, err := layout.New(piece, []layout.File{{Path: contentName + "/a", Length: 2*piece + 100}, {Path: contentName + "/b", Length: 2 * piece}})
	must(t, err)
	data := make([]byte, l.Total)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	c := &Content{Dir: t.TempDir()}
	var hashes []byte
	for i := range l.NumPieces() {
		h := sha1.Sum(data[l.PieceOffset(i) : l.PieceOffset(i)+l.PieceSize(i)])
		hashes = append(hashes, h[:]...)
	}
	c.Torrent, err = torrentfile.Create(contentName, true, l, hashes)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(c.Dir, contentName), 0o755))
	for i, f := range l.Files {
		must(t, os.WriteFile(filepath.Join(c.Dir, f.Path), data[l.Offset(i):l.Offset(i)+f.Length], 0o644))
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyTo copies content, for a change to it to leave the original alone.
func (c *Content) copyTo(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, contentName), 0o755))
	for _, f := range c.Torrent.Layout.Files {
		b, err := os.ReadFile(filepath.Join(c.Dir, f.Path))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, f.Path), b, 0o644))
	}
}

func TestCheck(t *testing.T) {
	c := twoFiles(t)
	must(t, c.intact(t.Context()))
	b := filepath.Join(contentName, "b")
	for _, tc := range []struct {
		name   string
		change func(dir string) error
		ok     bool
	}{
		{"equal", func(string) error { return nil }, true},
		{"one bit", func(dir string) error { return flip(filepath.Join(dir, b), 700) }, false},
		{"shorter", func(dir string) error { return os.Truncate(filepath.Join(dir, b), 100) }, false},
		{"longer", func(dir string) error { return os.Truncate(filepath.Join(dir, b), 3000) }, false},
		{"a file less", func(dir string) error { return os.Remove(filepath.Join(dir, b)) }, false},
		{"a file more", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, contentName, "c"), nil, 0o644)
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			c.copyTo(t, dir)
			must(t, tc.change(dir))
			if err := c.Check(t.Context(), dir); (err == nil) != tc.ok {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

func TestSameTree(t *testing.T) {
	for _, files := range []int{1, 3} {
		dir := t.TempDir()
		a, live := filepath.Join(dir, "a", contentName), filepath.Join(dir, "live")
		must(t, makeFiles(a, equalSizes(3000, files)))
		must(t, os.CopyFS(filepath.Join(dir, "b"), os.DirFS(filepath.Join(dir, "a"))))
		must(t, os.Symlink(filepath.Join("b", contentName), live))
		must(t, sameTree(t.Context(), a, live))
		victim := filepath.Join(dir, "b", contentName)
		if files > 1 {
			victim = filepath.Join(victim, "01", "f1")
			more := filepath.Join(dir, "b", contentName, "more")
			must(t, os.WriteFile(more, nil, 0o644))
			if sameTree(t.Context(), a, live) == nil {
				t.Error("a file more is no difference")
			}
			must(t, os.Remove(more))
		}
		must(t, flip(victim, 10))
		if sameTree(t.Context(), a, live) == nil {
			t.Errorf("%d files: one bit is no difference", files)
		}
		must(t, os.Remove(victim))
		if sameTree(t.Context(), a, live) == nil {
			t.Errorf("%d files: a missing file is no difference", files)
		}
	}
}

func TestIntact(t *testing.T) {
	c := twoFiles(t)
	must(t, flip(filepath.Join(c.Dir, contentName, "a"), 5))
	if c.intact(t.Context()) == nil {
		t.Error("content that was changed under the seeds is taken for good")
	}
}

func TestCollect(t *testing.T) {
	c := twoFiles(t)
	dir := t.TempDir()
	staged := filepath.Join(dir, ".distd-fetch", "key", "content")
	c.copyTo(t, staged)
	// Piece 0 is wrong at its end only, piece 2 lies in both files, piece 4 is
	// not there yet.
	must(t, flip(filepath.Join(staged, contentName, "a"), 1023))
	must(t, os.Truncate(filepath.Join(staged, contentName, "b"), 2000))
	held := bitmap.New(c.Torrent.Layout.NumPieces())
	c.Collect(dir, held)
	if got := held.Bytes(); !bytes.Equal(got, []byte{0b01110000}) {
		t.Errorf("pieces %08b are said to be there, not 1, 2 and 3", got)
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
