package pieces

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces/piecestest"
)

func mustHave(r *piecestest.Release) *bitmap.Bitmap {
	m := bitmap.New(r.Layout.NumPieces())
	for i := 0; i < m.Len(); i += 3 {
		m.Set(i)
	}
	return m
}

func filePath(p place, r *piecestest.Release, i int) string {
	return filepath.Join(p.dir, r.Layout.Files[i].Path)
}

// TestFilesChangedMeanwhile recovers from files that others cut, removed,
// lengthened or overwrote after they were recorded.
func TestFilesChangedMeanwhile(t *testing.T) {
	r := piecestest.NewRelease(4096, 5*4096, 10000, 0, 3*4096) // pieces 0-4 | 5-7 | | 7-10
	for _, c := range []struct {
		name string
		do   func(p place) error
		want []int
	}{
		{"nothing", func(place) error { return nil }, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"cut", func(p place) error { return os.Truncate(filePath(p, r, 0), 2*4096+1) }, []int{0, 1, 5, 6, 7, 8, 9, 10}},
		{"removed", func(p place) error { return os.Remove(filePath(p, r, 1)) }, []int{0, 1, 2, 3, 4, 8, 9, 10}},
		{"emptied", func(p place) error { return os.Truncate(filePath(p, r, 3), 0) }, []int{0, 1, 2, 3, 4, 5, 6}},
		{"longer", func(p place) error { return os.Truncate(filePath(p, r, 0), 1<<20) }, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"empty file grown", func(p place) error { return os.WriteFile(filePath(p, r, 2), []byte("x"), 0o600) }, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"all removed", func(p place) error { return os.RemoveAll(p.dir) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t, "")
			mustSync(t, filled(t, p.config(r), r))
			if err := c.do(p); err != nil {
				t.Fatal(err)
			}
			s := recovered(t, p.config(r))
			if got := slices.Collect(s.Have().Ones()); !slices.Equal(got, c.want) {
				t.Errorf("have %v, want %v", got, c.want)
			}
			for i := range r.Layout.NumPieces() {
				write(t, s, r, i)
			}
			mustSync(t, s)
			for i, f := range r.Layout.Files {
				info, err := os.Stat(filePath(p, r, i))
				if err != nil || info.Size() != f.Length {
					t.Errorf("file %d has %d bytes, want %d: %v", i, info.Size(), f.Length, err)
				}
			}
			for i := range r.Layout.NumPieces() {
				piecestest.CheckPiece(t, s, r, i)
			}
			if again := recovered(t, p.config(r)); !again.Have().All() {
				t.Errorf("after all: have %d", again.Have().Count())
			}
		})
	}
}

// TestHolesAreNotHashed checks that space taken but never written costs nothing.
func TestHolesAreNotHashed(t *testing.T) {
	for name, base := range map[string]string{"disk": "", "tmpfs": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(cmp(base, os.TempDir())); err != nil {
				t.Skip(err)
			}
			r := piecestest.NewRelease(1<<20, 20<<20)
			p := newPlace(t, base)
			c := p.config(r)
			filled(t, c, r, 3, 11)
			c, hashed := counting(c)
			s := recovered(t, c)
			if got := slices.Collect(s.Have().Ones()); !slices.Equal(got, []int{3, 11}) || hashed.Load() != 2 {
				t.Errorf("have %v, hashed %d pieces, want 2", got, hashed.Load())
			}
			info, err := os.Stat(filePath(p, r, 0))
			if err != nil || info.Size() != 20<<20 {
				t.Errorf("file was not given its size: %v", err)
			}
		})
	}
}

func cmp(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestRecoverEndsWithContext(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	ctx, cancel := context.WithCancel(t.Context())
	c := p.config(r)
	c.Workers = 1
	c.Verify = func(i int, data []byte) bool {
		cancel()
		return r.Verify(i, data)
	}
	s := mustOpen(t, c)
	if err := s.Recover(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Recover: %v", err)
	}
	if n := s.Have().Count(); n == 0 || n > 3 {
		t.Errorf("have %d pieces after the first was hashed", n)
	}
	if err := s.Recover(t.Context(), nil); err != nil || !s.Have().All() {
		t.Errorf("second Recover: have %d: %v", s.Have().Count(), err)
	}
}

func TestRecoverUsesAllWorkers(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	c := p.config(r)
	c.Workers = 4
	var inside atomic.Int64
	meet := make(chan struct{})
	c.Verify = func(i int, data []byte) bool {
		if inside.Add(1) == 4 {
			close(meet)
		}
		<-meet // reached by none unless four are here at once
		return r.Verify(i, data)
	}
	if s := recovered(t, c); !s.Have().All() {
		t.Errorf("have %d", s.Have().Count())
	}
}

// snapshot is what a folder holds: names, sizes and times.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil {
			out[p] = info.Mode().String() + info.ModTime().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReadOnly(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	for i := range r.Layout.Files {
		if err := os.Chmod(filePath(p, r, i), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filePath(p, r, 1)); err != nil { // the empty one
		t.Fatal(err)
	}
	before := snapshot(t, p.dir)
	c := p.config(r)
	c.ReadOnly = true
	c, hashed := counting(c)
	s := recovered(t, c)
	if !s.Have().All() || int(hashed.Load()) != r.Layout.NumPieces() {
		t.Fatalf("have %d, hashed %d of %d", s.Have().Count(), hashed.Load(), r.Layout.NumPieces())
	}
	for i := range r.Layout.NumPieces() {
		piecestest.CheckPiece(t, s, r, i)
	}
	s.Drop(0)
	if err := s.WritePiece(0, r.Piece(0)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("WritePiece: %v", err)
	}
	mustSync(t, s)
	// The record is trusted while nothing changes, but for the dropped piece.
	c, hashed = counting(c)
	s = recovered(t, c)
	if !s.Have().All() || hashed.Load() != 1 {
		t.Errorf("again: have %d, hashed %d, want 1", s.Have().Count(), hashed.Load())
	}
	mustSync(t, s)
	// A change of one file that keeps its size is noticed.
	if err := os.Chmod(filePath(p, r, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filePath(p, r, 0), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{r.Data[0] + 1}, 0); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	c, hashed = counting(c)
	s = recovered(t, c)
	if s.Has(0) || s.Have().Count() != r.Layout.NumPieces()-1 || hashed.Load() != 5 {
		t.Errorf("changed file: have %d, hashed %d, want 5", s.Have().Count(), hashed.Load())
	}
	delete(before, filePath(p, r, 0))
	after := snapshot(t, p.dir)
	for name, v := range before {
		if after[name] != v {
			t.Errorf("%s was changed from %s to %s", name, v, after[name])
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("%d entries, were %d", len(after), len(before)+1)
	}
}

// TestReadOnlySparse seeds content in place whose zeros are holes.
func TestReadOnlySparse(t *testing.T) {
	r := piecestest.NewRelease(4096, 1<<20)
	clear(r.Data[8192:])
	p := newPlace(t, "")
	if err := os.MkdirAll(filepath.Dir(filePath(p, r, 0)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filePath(p, r, 0), r.Data[:8192], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filePath(p, r, 0), 1<<20); err != nil {
		t.Fatal(err)
	}
	c := p.config(r)
	c.ReadOnly = true
	c.Verify = func(i int, data []byte) bool { return string(data) == string(r.Piece(i)) }
	if s := recovered(t, c); !s.Have().All() {
		t.Errorf("have %d of %d", s.Have().Count(), r.Layout.NumPieces())
	}
}

func TestComplete(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	c := Config{Dir: p.dir, Layout: r.Layout, Complete: true}
	s := recovered(t, c)
	if !s.Have().All() {
		t.Fatal("not complete")
	}
	piecestest.CheckPiece(t, s, r, 2)
	mustSync(t, s)
	if err := os.Truncate(filePath(p, r, 2), 1); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, c).Recover(t.Context(), nil); err == nil {
		t.Error("a file that is too short was not noticed")
	}
}

// TestUnreadableFile recovers beside a file that cannot be read.
func TestUnreadableFile(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	filled(t, p.config(r), r)
	s := mustOpen(t, p.config(r))
	broken := filePath(p, r, 0)
	s.verify = func(i int, data []byte) bool {
		// Cut while it is hashed: reads behind the cut fail.
		_ = os.Truncate(broken, 4096)
		return r.Verify(i, data)
	}
	s.workers = 1
	if err := s.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if s.Has(2) || !s.Has(0) || !s.Has(6) {
		t.Errorf("have %v", slices.Collect(s.Have().Ones()))
	}
}
