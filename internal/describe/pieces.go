package describe

import (
	"crypto/sha1"
	"encoding/hex"
	"hash"

	"distd/pkg/metalink"
)

// maxPieces keeps the hashes of the largest files within what readers of
// metalinks take.
const maxPieces = 100_000

// pieceLength is the `metalink` program's, in bytes: at most 255 pieces or so,
// but none longer than 8 MiB, unless there were too many.
func pieceLength(size int64) int64 {
	n := int64(256 << 10)
	for size/n > 255 && n < 8<<20 || size/n >= maxPieces {
		n *= 2
	}
	return n
}

// pieceWriter hashes each piece of what is written to it.
type pieceWriter struct {
	out *metalink.Pieces
	h   hash.Hash
	n   int64 // bytes in h
}

func newPieceWriter(size int64) *pieceWriter {
	return &pieceWriter{out: &metalink.Pieces{Type: "sha-1", Length: pieceLength(size)}, h: sha1.New()}
}

// Write never fails.
func (p *pieceWriter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(int64(len(rest)), p.out.Length-p.n)
		_, _ = p.h.Write(rest[:n])
		rest, p.n = rest[n:], p.n+n
		if p.n == p.out.Length {
			p.end()
		}
	}
	return len(b), nil
}

func (p *pieceWriter) end() {
	p.out.Hashes = append(p.out.Hashes, hex.EncodeToString(p.h.Sum(nil)))
	p.h.Reset()
	p.n = 0
}

// pieces returns the hashes; nil for a file without any byte.
func (p *pieceWriter) pieces() *metalink.Pieces {
	if p.n > 0 {
		p.end()
	}
	if len(p.out.Hashes) == 0 {
		return nil
	}
	return p.out
}
