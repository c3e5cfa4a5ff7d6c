package pieces

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/layout"
	"distd/pkg/swarm/pieces/piecestest"
)

// inFolders makes content of single files in folders of their own, each a piece.
func inFolders(t *testing.T, files ...string) *piecestest.Release {
	t.Helper()
	sizes := make([]int64, len(files))
	for i := range sizes {
		sizes[i] = 64
	}
	r := piecestest.NewRelease(64, sizes...)
	list := make([]layout.File, len(files))
	for i, f := range files {
		list[i] = layout.File{Path: f, Length: 64}
	}
	l, err := layout.New(64, list)
	if err != nil {
		t.Fatal(err)
	}
	r.Layout = l
	return r
}

func TestFoldersHeldOpenAreBounded(t *testing.T) {
	r := inFolders(t, "a/1", "b/2", "c/3", "c/d/4", "e/5", "f/g/h/6", "top")
	s := filled(t, newPlace(t, "").config(r), r)
	held := func() int {
		s.files.mu.Lock()
		defer s.files.mu.Unlock()
		if n := s.files.recentFolders.Len(); n != len(s.files.folders) {
			t.Fatalf("%d folders in the list, %d in the table", n, len(s.files.folders))
		}
		return len(s.files.folders)
	}
	for i := range r.Layout.NumPieces() {
		piecestest.CheckPiece(t, s, r, i)
		if n := held(); n > 3 {
			t.Fatalf("%d folders are held open, limit 3", n)
		}
	}
	if held() == 0 {
		t.Error("no folder is held open")
	}
	s.CloseIdle()
	if n := held(); n != 0 {
		t.Errorf("%d folders are held open after CloseIdle", n)
	}
	piecestest.CheckPiece(t, s, r, 0)
	// One in use is closed at its release.
	root, err := s.files.useRoot()
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := s.files.useFolder(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat("1"); err != nil {
		t.Errorf("a folder in use was closed: %v", err)
	}
	s.files.unuseFolder(f, false)
	if _, err := f.Stat("1"); !errors.Is(err, os.ErrClosed) || held() != 0 {
		t.Errorf("%d folders are held open after Close: %v", held(), err)
	}
	s.files.unuseRoot()
}

// TestFolderMadeAgain: files are found in a folder that was removed and made again
// while it was held open, as by somebody who puts back what he took away.
func TestFolderMadeAgain(t *testing.T) {
	r := inFolders(t, "x/1", "x/2", "y/3", "y/4", "y/5")
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	piecestest.CheckPiece(t, s, r, 0)
	for i := 2; i < 5; i++ { // until no file of x is open
		piecestest.CheckPiece(t, s, r, i)
	}
	x := filepath.Join(p.dir, "x")
	if err := errors.Join(os.CopyFS(x+".new", os.DirFS(x)), os.RemoveAll(x), os.Rename(x+".new", x)); err != nil {
		t.Fatal(err)
	}
	piecestest.CheckPiece(t, s, r, 1)
	if err := errors.Join(os.RemoveAll(x), os.Mkdir(x, 0o755)); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 5; i++ {
		piecestest.CheckPiece(t, s, r, i)
	}
	s.Drop(0)
	write(t, s, r, 0)
	piecestest.CheckPiece(t, s, r, 0)
	if b, err := os.ReadFile(filepath.Join(x, "1")); err != nil || string(b) != string(r.Piece(0)) {
		t.Errorf("the file was not made in the new folder: %v", err)
	}
	if err := s.ReadAt(make([]byte, 1), 1, 0); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(x, "2")) {
		t.Errorf("reading a file that is gone: %v", err)
	}
}

// TestReopenFolder reads from a folder that took the place of another.
func TestReopenFolder(t *testing.T) {
	r := inFolders(t, "x/1", "x/2")
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	x := filepath.Join(p.dir, "x")
	if err := errors.Join(os.CopyFS(x+".new", os.DirFS(x)), os.Rename(x, x+".old"), os.Rename(x+".new", x)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(x+".old", "1"), make([]byte, 64), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	piecestest.CheckPiece(t, s, r, 0)
}
