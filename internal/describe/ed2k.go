package describe

import (
	"hash"

	"golang.org/x/crypto/md4" //nolint:staticcheck // what eDonkey links are made with
)

// ed2kChunk is how many bytes have an MD4 of their own.
const ed2kChunk = 9500 * 1024

// ed2k is eDonkey's hash: the MD4 of the MD4s of all chunks, or the MD4 of the
// content where that is less than a chunk. Like eMule, and the `metalink`
// program, it takes an empty chunk to stand behind one that is full.
type ed2k struct {
	chunk hash.Hash
	n     int // bytes in chunk
	done  []byte
}

func newED2K() *ed2k { return &ed2k{chunk: md4.New()} }

// Write never fails.
func (e *ed2k) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), ed2kChunk-e.n)
		_, _ = e.chunk.Write(rest[:n])
		rest, e.n = rest[n:], e.n+n
		if e.n == ed2kChunk {
			e.done = e.chunk.Sum(e.done)
			e.chunk.Reset()
			e.n = 0
		}
	}
	return len(b), nil
}

func (e *ed2k) Sum(b []byte) []byte {
	if len(e.done) == 0 {
		return e.chunk.Sum(b)
	}
	all := md4.New()
	_, _ = all.Write(e.done)
	_, _ = all.Write(e.chunk.Sum(nil))
	return all.Sum(b)
}

func (e *ed2k) Reset()         { e.chunk.Reset(); e.n, e.done = 0, nil }
func (e *ed2k) Size() int      { return md4.Size }
func (e *ed2k) BlockSize() int { return md4.BlockSize }
