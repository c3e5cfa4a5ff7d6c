package delta

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// Index has the chunks of a release's large files. Its encoding: indexMagic; a
// byte for the class; for each file its SHA-256, the number of chunks as a
// uvarint, and for each chunk its hash and its size as a uvarint; and the
// XXH64 of all of that.
type Index struct {
	Class int
	Files []Chunked
}

// Chunked is a file in chunks.
type Chunked struct {
	SHA256 [32]byte
	Chunks []Chunk
}

const indexMagic = "distd chunks 1\n"

// Encode writes the index.
func (x *Index) Encode(to io.Writer) error {
	sum := xxhash.New()
	w := bufio.NewWriter(io.MultiWriter(to, sum))
	b := append([]byte(indexMagic), byte(x.Class))
	for _, f := range x.Files {
		b = append(b, f.SHA256[:]...)
		b = binary.AppendUvarint(b, uint64(len(f.Chunks)))
		for _, c := range f.Chunks {
			b = append(b, c.Hash[:]...)
			b = binary.AppendUvarint(b, uint64(c.Size))
			if len(b) > 4096 {
				_, _ = w.Write(b) // Flush says whether it failed
				b = b[:0]
			}
		}
	}
	_, _ = w.Write(b)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := to.Write(sum.Sum(nil))
	return err
}

// ParseIndex reads an index. Files that appear in it twice do no harm.
func ParseIndex(data []byte) (*Index, error) {
	end := len(data) - 8
	if end < len(indexMagic)+1 || string(data[:len(indexMagic)]) != indexMagic {
		return nil, fmt.Errorf("index of chunks: %w", ErrMalformed)
	}
	if xxhash.Sum64(data[:end]) != binary.BigEndian.Uint64(data[end:]) {
		return nil, fmt.Errorf("index of chunks: %w: it is damaged", ErrMalformed)
	}
	r := bytes.NewReader(data[len(indexMagic):end])
	class, _ := r.ReadByte()
	x := &Index{Class: int(class)}
	if x.Class >= classes {
		return nil, fmt.Errorf("index of chunks: %w: class %d", ErrMalformed, class)
	}
	for r.Len() > 0 {
		f, err := parseChunked(r)
		if err != nil {
			return nil, fmt.Errorf("index of chunks: %w: %w", ErrMalformed, err)
		}
		x.Files = append(x.Files, f)
	}
	return x, nil
}

func parseChunked(r *bytes.Reader) (f Chunked, err error) {
	if _, err := io.ReadFull(r, f.SHA256[:]); err != nil {
		return f, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return f, err
	}
	if n > uint64(r.Len()/(len(Hash{})+1)) {
		return f, errors.New("more chunks than bytes")
	}
	f.Chunks = make([]Chunk, n)
	for i := range f.Chunks {
		c := &f.Chunks[i]
		if _, err := io.ReadFull(r, c.Hash[:]); err != nil {
			return f, err
		}
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return f, err
		}
		if size == 0 || size > maxChunk<<(2*classes) {
			return f, errors.New("size of a chunk")
		}
		c.Size = uint32(size)
	}
	return f, nil
}
