package delta

import (
	"encoding/binary"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
	"github.com/cespare/xxhash/v2"
)

// Large is the size, in bytes, above which a file is cut into chunks. Smaller
// ones that have changed are in a pack as a whole.
const Large = 64 << 10

// minChunk is the least length of a chunk of the finest class.
const minChunk = 8 << 10

// Classes of chunk lengths: larger releases have longer chunks, so that an Index
// stays small. Chunks of different classes are not compared.
const (
	classes      = 4
	classStep    = 4          // from one class to the next
	firstClassTo = 8 << 30    // bytes of a release
	normalChunk  = 8 << 10    // of the first class: what a chunk has on top of minChunk in the mean
	maxChunk     = 64 << 10   // of the first class
	hashSeed     = 0x64697374 // of the second half of a Hash
)

// Class is how long the chunks of a release with so many bytes are.
func Class(size int64) int {
	c := 0
	for limit := int64(firstClassTo); c < classes-1 && size > limit; limit *= classStep {
		c++
	}
	return c
}

// Hash is two 64-bit hashes of a chunk. It is no proof against somebody who
// wants two chunks to have the same one: what is built is verified.
type Hash [16]byte

// Chunk is a part of a file.
type Chunk struct {
	Hash Hash
	Size uint32 // bytes
}

// Chunker cuts the files of a release into chunks. Use it from one goroutine.
type Chunker struct {
	cdc    fastcdc.FastCDC
	opts   chunkers.ChunkerOpts
	second *xxhash.Digest
	buf    []byte // the beginning of a chunk, less than MaxSize bytes
	out    []Chunk
}

// NewChunker returns a chunker for a class.
func NewChunker(class int) (*Chunker, error) {
	c := &Chunker{opts: chunkers.ChunkerOpts{MinSize: minChunk, NormalSize: normalChunk, MaxSize: maxChunk}, second: xxhash.NewWithSeed(hashSeed)}
	for range class {
		c.opts.MinSize, c.opts.NormalSize, c.opts.MaxSize = c.opts.MinSize*classStep, c.opts.NormalSize*classStep, c.opts.MaxSize*classStep
	}
	if err := c.cdc.Setup(&c.opts); err != nil {
		return nil, err
	}
	c.buf = make([]byte, 0, c.opts.MaxSize)
	return c, nil
}

// Write takes the next bytes of a file. It does not fail.
func (c *Chunker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(c.buf) == 0 && len(p) >= c.opts.MaxSize {
			p = p[c.emit(p[:c.opts.MaxSize]):]
			continue
		}
		had := len(c.buf)
		take := min(c.opts.MaxSize-had, len(p))
		c.buf = append(c.buf, p[:take]...)
		if len(c.buf) < c.opts.MaxSize {
			break
		}
		cut := c.emit(c.buf)
		if cut >= had {
			p, c.buf = p[cut-had:], c.buf[:0] // what is left came from p
			continue
		}
		p = p[take:]
		c.buf = c.buf[:copy(c.buf, c.buf[cut:])]
	}
	return n, nil
}

// emit makes a chunk of the beginning of data and returns its length.
func (c *Chunker) emit(data []byte) int {
	n := c.cdc.Algorithm(&c.opts, data, len(data))
	c.out = append(c.out, Chunk{Hash: c.hash(data[:n]), Size: uint32(n)})
	return n
}

func (c *Chunker) hash(data []byte) (h Hash) {
	binary.BigEndian.PutUint64(h[:], xxhash.Sum64(data))
	c.second.ResetWithSeed(hashSeed)
	_, _ = c.second.Write(data) // hashes do not fail
	binary.BigEndian.PutUint64(h[8:], c.second.Sum64())
	return h
}

// End ends a file and returns its chunks.
func (c *Chunker) End() []Chunk {
	for rest := c.buf; len(rest) > 0; {
		rest = rest[c.emit(rest):]
	}
	out := c.out
	c.buf, c.out = c.buf[:0], nil
	return out
}
