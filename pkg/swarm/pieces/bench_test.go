package pieces

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"distd/pkg/swarm/pieces/piecestest"
)

func benchStore(b *testing.B, r *piecestest.Release) *Store {
	base := os.Getenv("DISTD_BENCH_DIR")
	dir, err := os.MkdirTemp(base, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := Open(Config{Dir: filepath.Join(dir, "c"), Layout: r.Layout, Verify: r.Verify, ProgressFile: filepath.Join(dir, "p")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if err := s.Recover(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkWritePiece(b *testing.B) {
	many := make([]int64, 2000)
	for i := range many {
		many[i] = 16 << 10
	}
	for name, r := range map[string]*piecestest.Release{
		"one file":   piecestest.NewRelease(256<<10, 64<<20),
		"many files": piecestest.NewRelease(256<<10, many...),
	} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b, r)
			b.SetBytes(256 << 10)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i %= r.Layout.NumPieces() - 1; s.Has(i) {
					s.Drop(i)
				}
				if err := s.WritePiece(i, r.Piece(i)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkReadAt(b *testing.B) {
	r := piecestest.NewRelease(256<<10, 64<<20)
	s := benchStore(b, r)
	for i := range r.Layout.NumPieces() {
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 16<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := s.ReadAt(buf, i%r.Layout.NumPieces(), int64(i%16)<<14); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkRecover(b *testing.B) {
	r := piecestest.NewRelease(256<<10, 64<<20)
	s := benchStore(b, r)
	for i := range r.Layout.NumPieces() {
		if err := s.WritePiece(i, r.Piece(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(r.Layout.Total)
	for b.Loop() {
		if err := s.Recover(b.Context(), nil); err != nil || !s.Have().All() {
			b.Fatal(err)
		}
	}
}

// BenchmarkTree is a download of 10,000 files of 1 to 64 KiB: its pieces come in
// no order, and each is given once to another peer, a block at a time.
func BenchmarkTree(b *testing.B) {
	order := rand.New(rand.NewPCG(1, 2))
	sizes := make([]int64, 10_000)
	for i := range sizes {
		sizes[i] = 1<<10 + order.Int64N(63<<10)
	}
	r := piecestest.NewRelease(128<<10, sizes...)
	buf := make([]byte, 16<<10)
	b.SetBytes(r.Layout.Total)
	for b.Loop() {
		b.StopTimer()
		s := benchStore(b, r)
		b.StartTimer()
		for _, i := range order.Perm(r.Layout.NumPieces()) {
			if err := s.WritePiece(i, r.Piece(i)); err != nil {
				b.Fatal(err)
			}
			for off := int64(0); off < r.Layout.PieceSize(i); off += int64(len(buf)) {
				if err := s.ReadAt(buf[:min(int64(len(buf)), r.Layout.PieceSize(i)-off)], i, off); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := s.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
