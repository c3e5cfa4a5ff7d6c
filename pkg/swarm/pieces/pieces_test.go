package pieces

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"distd/internal/layout"
	"distd/pkg/swarm/pieces/piecestest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a store's folder and record.
type place struct{ dir, progress string }

func newPlace(t *testing.T, base string) place {
	t.Helper()
	dir, err := os.MkdirTemp(base, "pieces")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return place{filepath.Join(dir, "content"), filepath.Join(dir, "progress")}
}

func (p place) config(r *piecestest.Release) Config {
	return Config{Dir: p.dir, Layout: r.Layout, Identity: [32]byte{7}, Verify: r.Verify, ProgressFile: p.progress, MaxOpenFiles: 3}
}

func mustOpen(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func recovered(t *testing.T, c Config) *Store {
	t.Helper()
	s := mustOpen(t, c)
	if err := s.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// counting makes c count the pieces that are hashed.
func counting(c Config) (Config, *atomic.Int64) {
	n, verify := new(atomic.Int64), c.Verify
	c.Verify = func(i int, data []byte) bool {
		n.Add(1)
		return verify(i, data)
	}
	return c, n
}

// filled returns a store with the given pieces, or all when there are none.
func filled(t *testing.T, c Config, r *piecestest.Release, pieces ...int) *Store {
	t.Helper()
	s := recovered(t, c)
	if pieces == nil {
		for i := range r.Layout.NumPieces() {
			pieces = append(pieces, i)
		}
	}
	write(t, s, r, pieces...)
	return s
}

func write(t *testing.T, s *Store, r *piecestest.Release, pieces ...int) {
	t.Helper()
	for _, i := range pieces {
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustSync(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	bases := map[string]string{"disk": ""}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		bases["tmpfs"] = "/dev/shm"
	}
	for name, base := range bases {
		t.Run(name, func(t *testing.T) {
			piecestest.Run(t, func(t *testing.T) piecestest.Opener {
				p := newPlace(t, base)
				return func(r *piecestest.Release) (piecestest.Store, error) { return Open(p.config(r)) }
			}, true)
		})
	}
}

// TestFilesOnDisk checks the bytes as others see them.
func TestFilesOnDisk(t *testing.T) {
	r := piecestest.NewRelease(1<<16, 3<<20, 0, 5, 100<<10)
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	off := int64(0)
	for _, f := range r.Layout.Files {
		got, err := os.ReadFile(filepath.Join(p.dir, f.Path))
		if err != nil || !bytes.Equal(got, r.Data[off:off+f.Length]) {
			t.Errorf("%s: %d bytes, want %d: %v", f.Path, len(got), f.Length, err)
		}
		off += f.Length
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	lengths := make([]int64, 40)
	for i := range lengths {
		lengths[i] = 64
	}
	r := piecestest.NewRelease(64, lengths...)
	s := filled(t, newPlace(t, "").config(r), r)
	open := func() int {
		s.files.mu.Lock()
		defer s.files.mu.Unlock()
		return len(s.files.open)
	}
	if n := open(); n > 3 {
		t.Fatalf("%d files open, limit 3", n)
	}
	// Files in use stay open and are refused beyond the limit.
	var releases []func()
	for i := range 3 {
		f, off, ok, release := s.FileRange(i, 0, 64)
		if !ok {
			t.Fatalf("file %d of 3 refused", i)
		}
		defer func() {
			if _, err := f.ReadAt(make([]byte, 1), off); !errors.Is(err, os.ErrClosed) {
				t.Errorf("file is still open after Close and release: %v", err)
			}
		}()
		releases = append(releases, func() {
			if _, err := f.ReadAt(make([]byte, 1), off); err != nil {
				t.Errorf("file in use was closed: %v", err)
			}
			release()
		})
	}
	if _, _, ok, _ := s.FileRange(3, 0, 64); ok {
		t.Error("a fourth file is held, limit 3")
	}
	for i := range 40 {
		piecestest.CheckPiece(t, s, r, i)
	}
	if n := open(); n > 4 {
		t.Fatalf("%d files open with 3 in use, limit 3", n)
	}
	s.CloseIdle()
	if n := open(); n != 3 {
		t.Fatalf("%d files open after CloseIdle with 3 in use", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		release()
	}
	if s.files.root != nil {
		t.Error("the root is open after Close")
	}
}

func TestCloseIdleAndMovedFolder(t *testing.T) {
	r := piecestest.NewRelease(64, 100, 200)
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	moved := p.dir + ".moved"
	if err := os.Rename(p.dir, moved); err != nil {
		t.Fatal(err)
	}
	piecestest.CheckPiece(t, s, r, 0) // by the open root
	s.CloseIdle()
	if s.files.root != nil || len(s.files.open) != 0 {
		t.Fatal("files are open after CloseIdle")
	}
	s.SetDir(moved)
	for i := range r.Layout.NumPieces() {
		piecestest.CheckPiece(t, s, r, i)
	}
}

// TestPinnedFolder: files can be opened while the folder is moved, though all were
// closed and nobody has said yet where it is.
func TestPinnedFolder(t *testing.T) {
	r := piecestest.NewRelease(64, 100, 200)
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	s.CloseIdle()
	unpin, err := s.Pin()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.dir, p.dir+".moved"); err != nil {
		t.Fatal(err)
	}
	s.CloseIdle()
	for i := range r.Layout.NumPieces() {
		piecestest.CheckPiece(t, s, r, i)
	}
	s.SetDir(p.dir + ".moved")
	unpin()
	s.CloseIdle()
	if s.files.root != nil || len(s.files.open) != 0 {
		t.Fatal("files are open after CloseIdle")
	}
	piecestest.CheckPiece(t, s, r, 0)
}

func TestRefusesWhatIsNotAFileOrFolder(t *testing.T) {
	r := piecestest.NewRelease(64, 100, 0)
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(dir string) error{
		"symlinked file": func(dir string) error {
			_ = os.MkdirAll(filepath.Join(dir, "rel/dir0"), 0o755)
			return os.Symlink(victim, filepath.Join(dir, "rel/dir0/file0"))
		},
		"symlink inside": func(dir string) error {
			_ = os.MkdirAll(filepath.Join(dir, "rel/dir0"), 0o755)
			_ = os.WriteFile(filepath.Join(dir, "other"), nil, 0o600)
			return os.Symlink("../../other", filepath.Join(dir, "rel/dir0/file0"))
		},
		"symlinked folder": func(dir string) error {
			_ = os.MkdirAll(dir, 0o755)
			return os.Symlink(outside, filepath.Join(dir, "rel"))
		},
		"symlinked folder inside": func(dir string) error {
			_ = os.MkdirAll(filepath.Join(dir, "elsewhere"), 0o755)
			return os.Symlink("elsewhere", filepath.Join(dir, "rel"))
		},
		"folder as file": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "rel/dir0/file0"), 0o755) },
		"file as folder": func(dir string) error {
			_ = os.MkdirAll(dir, 0o755)
			return os.WriteFile(filepath.Join(dir, "rel"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			if err := make(p.dir); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, p.config(r))
			err := s.Recover(t.Context(), nil)
			werr := s.WritePiece(0, r.Piece(0))
			if err == nil && werr == nil {
				t.Error("accepted")
			}
			t.Log(err, "/", werr)
			if b, err := os.ReadFile(victim); string(b) != "precious" || err != nil {
				t.Errorf("victim is now %q: %v", b, err)
			}
			if l, _ := os.ReadDir(filepath.Join(p.dir, "elsewhere")); len(l) > 0 {
				t.Error("written through the symlink")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	r := piecestest.NewRelease(64, 100)
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no layout":          {Dir: t.TempDir(), Verify: r.Verify},
		"no verify":          {Dir: t.TempDir(), Layout: r.Layout},
		"dir is a file":      {Dir: file, Layout: r.Layout, Verify: r.Verify},
		"read-only, no dir":  {Dir: file + "x", Layout: r.Layout, Verify: r.Verify, ReadOnly: true},
		"read-only, no dir2": {Dir: file, Layout: r.Layout, Verify: r.Verify, ReadOnly: true},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReadFailsWhenTheFileIsCut(t *testing.T) {
	r := piecestest.NewRelease(64, 200)
	p := newPlace(t, "")
	s := filled(t, p.config(r), r)
	if err := os.Truncate(filepath.Join(p.dir, r.Layout.Files[0].Path), 70); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadAt(make([]byte, 64), 1, 0); err == nil {
		t.Fatal("read bytes that are not there")
	}
	s.Drop(1)
	if s.Has(1) {
		t.Fatal("has a dropped piece")
	}
	write(t, s, r, 1)
	piecestest.CheckPiece(t, s, r, 1)
}

func TestWorkersAreBoundedByMemory(t *testing.T) {
	l, err := layout.New(1<<20, []layout.File{{Path: "a", Length: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		workers int
		memory  int64
		want    int
	}{{8, 4 << 20, 4}, {8, 1, 1}, {2, 1 << 30, 2}, {5000, 1 << 40, 1024}} {
		if got := workers(Config{Layout: l, Workers: c.workers, Memory: c.memory}); got != c.want {
			t.Errorf("%d workers, %d bytes: %d, want %d", c.workers, c.memory, got, c.want)
		}
	}
}

// TestReopen reads a file that was replaced by another.
func TestReopen(t *testing.T) {
	r := piecestest.NewRelease(4096, 3*4096)
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	c := p.config(r)
	c.Complete = true
	s := recovered(t, c)
	f, _, ok, release := s.FileRange(0, 0, 4096) // in use meanwhile
	if !ok {
		t.Fatal("no range of a file")
	}
	name := filePath(p, r, 0)
	if err := errors.Join(os.WriteFile(name+".new", make([]byte, 3*4096), 0o600), os.Rename(name+".new", name)); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	got := make([]byte, 4096)
	if err := s.ReadAt(got, 1, 0); err != nil || !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("the old file was read: %v", err)
	}
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, r.Piece(0)) {
		t.Errorf("the file in use is %v", err)
	}
	release()
	if _, err := f.ReadAt(got, 0); err == nil {
		t.Error("the old file stays open")
	}
}
