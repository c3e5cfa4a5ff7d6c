// Package piecestest tests that a store of pieces keeps the promises that the
// swarm engine relies on, whatever it keeps them in.
package piecestest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
)

// Store is what is tested; *pieces.Store is one.
type Store interface {
	Recover(ctx context.Context, progress func(done, total int64)) error
	Have() *bitmap.Bitmap
	Has(piece int) bool
	WritePiece(piece int, data []byte) error
	ReadAt(buf []byte, piece int, begin int64) error
	FileRange(piece int, begin, n int64) (f *os.File, off int64, ok bool, release func())
	Sync(ctx context.Context) error
	Close() error
}

// Release is content made up for a test.
type Release struct {
	Layout *layout.Layout
	Data   []byte
	sums   [][32]byte
}

// NewRelease makes content of files of the given lengths, the same for the
// same arguments.
func NewRelease(pieceLength int64, lengths ...int64) *Release {
	files := make([]layout.File, len(lengths))
	for i, n := range lengths {
		files[i] = layout.File{Path: fmt.Sprintf("rel/dir%d/file%d", i%3, i), Length: n}
	}
	l, err := layout.New(pieceLength, files)
	if err != nil {
		panic(err)
	}
	r := &Release{Layout: l, Data: make([]byte, l.Total)}
	rnd := rand.NewChaCha8([32]byte{1, 2, 3})
	_, _ = rnd.Read(r.Data)
	for i := range l.NumPieces() {
		r.sums = append(r.sums, sha256.Sum256(r.Piece(i)))
	}
	return r
}

// Piece is the bytes of piece i.
func (r *Release) Piece(i int) []byte {
	off := r.Layout.PieceOffset(i)
	return r.Data[off : off+r.Layout.PieceSize(i)]
}

// Verify says whether data is piece i.
func (r *Release) Verify(i int, data []byte) bool { return sha256.Sum256(data) == r.sums[i] }

// Opener opens the store of a release in one place: what an earlier call has
// stored there is found by Recover.
type Opener func(r *Release) (Store, error)

// Run tests the stores that place makes. Each call of place gives an empty
// place of its own. durable says that a store opened again finds its pieces.
func Run(t *testing.T, place func(t *testing.T) Opener, durable bool) {
	layouts := map[string][]int64{
		"one file":    {1000},
		"one piece":   {64},
		"many files":  {10, 0, 300, 64, 1, 1, 0, 129, 63, 500},
		"only empty":  {0, 0},
		"whole piece": {128, 64, 256},
	}
	for name, lengths := range layouts {
		r := NewRelease(64, lengths...)
		t.Run(name, func(t *testing.T) {
			t.Run("write and read", func(t *testing.T) { writeAndRead(t, open(t, place(t), r), r) })
			t.Run("refuses", func(t *testing.T) { refuses(t, open(t, place(t), r), r) })
			t.Run("concurrent", func(t *testing.T) { concurrent(t, open(t, place(t), r), r) })
			if durable {
				t.Run("reopen", func(t *testing.T) { reopen(t, place(t), r) })
			}
		})
	}
}

func open(t *testing.T, o Opener, r *Release) Store {
	t.Helper()
	s, err := o(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func writeAndRead(t *testing.T, s Store, r *Release) {
	n := r.Layout.NumPieces()
	if h := s.Have(); h.Len() != n || !h.None() {
		t.Fatalf("a new store has %d of %d pieces, want 0 of %d", h.Count(), h.Len(), n)
	}
	for k, i := range rand.Perm(n) {
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			t.Fatal(err)
		}
		if h := s.Have(); !s.Has(i) || !h.Has(i) || h.Count() != k+1 {
			t.Fatalf("after %d pieces, the last %d: have %d, has it: %v", k+1, i, h.Count(), s.Has(i))
		}
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			t.Fatalf("writing piece %d again: %v", i, err)
		}
	}
	for i := range n {
		CheckPiece(t, s, r, i)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// CheckPiece reads piece i in several ways and compares it.
func CheckPiece(t *testing.T, s Store, r *Release, i int) {
	t.Helper()
	size := r.Layout.PieceSize(i)
	for _, c := range [][2]int64{{0, size}, {size / 3, size - size/3}, {size / 4, size / 2}, {0, 0}, {size, 0}} {
		want := r.Piece(i)[c[0] : c[0]+c[1]]
		got := make([]byte, c[1])
		if err := s.ReadAt(got, i, c[0]); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("piece %d: bytes [%d,+%d) differ", i, c[0], c[1])
		}
		f, off, ok, release := s.FileRange(i, c[0], c[1])
		if !ok {
			continue
		}
		clear(got)
		_, err := io.ReadFull(io.NewSectionReader(f, off, c[1]), got)
		release()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("piece %d: bytes [%d,+%d) of the file differ: %v", i, c[0], c[1], err)
		}
	}
}

func refuses(t *testing.T, s Store, r *Release) {
	n := r.Layout.NumPieces()
	bad := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	bad("piece -1", s.WritePiece(-1, nil))
	bad("piece behind the last", s.WritePiece(n, nil))
	bad("reading piece -1", s.ReadAt(nil, -1, 0))
	bad("reading behind the last", s.ReadAt(nil, n, 0))
	if n == 0 {
		return
	}
	bad("reading what is missing", s.ReadAt(make([]byte, 1), 0, 0))
	if _, _, ok, _ := s.FileRange(0, 0, 1); ok {
		t.Error("file range of a missing piece")
	}
	bad("short piece", s.WritePiece(0, r.Piece(0)[1:]))
	bad("long piece", s.WritePiece(0, append(bytes.Clone(r.Piece(0)), 0)))
	if err := s.WritePiece(0, r.Piece(0)); err != nil {
		t.Fatal(err)
	}
	size := r.Layout.PieceSize(0)
	for _, c := range [][2]int64{{-1, 1}, {size, 1}, {1, size}, {1 << 62, 1}} {
		bad(fmt.Sprintf("reading %d bytes at %d", c[1], c[0]), s.ReadAt(make([]byte, c[1]), 0, c[0]))
		if _, _, ok, _ := s.FileRange(0, c[0], c[1]); ok {
			t.Errorf("file range of %d bytes at %d", c[1], c[0])
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	bad("writing after Close", s.WritePiece(n-1, r.Piece(n - 1)[:0]))
	bad("reading after Close", s.ReadAt(make([]byte, 1), 0, 0))
}

func concurrent(t *testing.T, s Store, r *Release) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < r.Layout.NumPieces(); i += 2 { // each piece by two
				if err := s.WritePiece(i, r.Piece(i)); err != nil {
					t.Error(err)
				}
				got := make([]byte, r.Layout.PieceSize(i))
				if err := s.ReadAt(got, i, 0); err != nil || !bytes.Equal(got, r.Piece(i)) {
					t.Errorf("piece %d: %v", i, err)
				}
				if err := s.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if !s.Have().All() {
		t.Errorf("have %d of %d", s.Have().Count(), s.Have().Len())
	}
}

func reopen(t *testing.T, o Opener, r *Release) {
	s := open(t, o, r)
	for i := 0; i < r.Layout.NumPieces(); i += 2 {
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := s.Have()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o, r)
	if !s.Have().Equal(want) {
		t.Fatalf("found %d pieces, stored %d", s.Have().Count(), want.Count())
	}
	for i := range s.Have().Ones() {
		CheckPiece(t, s, r, i)
	}
}
