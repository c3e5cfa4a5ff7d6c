package publish

import "distd/internal/delta"

// chunking cuts large files into chunks while they are read; their index is what
// later packs are made from. It is one more of those that follow the source in
// order.
type chunking struct {
	chunker *delta.Chunker
	class   int
	files   map[int][]delta.Chunk // by index in the source
}

func newChunking(total int64) (*chunking, error) {
	class := delta.Class(total)
	c, err := delta.NewChunker(class)
	return &chunking{chunker: c, class: class, files: map[int][]delta.Chunk{}}, err
}

// take cuts the next part of the source.
func (c *chunking) take(e *entry, s *segment) {
	if e.stat.size <= delta.Large {
		return
	}
	_, _ = c.chunker.Write(s.data) // it does not fail
	if s.last {
		c.files[s.file] = c.chunker.End()
	}
}

// index is what was cut, with the hashes of the files.
func (c *chunking) index(sums []fileSums) *delta.Index {
	x := &delta.Index{Class: c.class}
	for i := range sums {
		if chunks := c.files[i]; chunks != nil {
			x.Files = append(x.Files, delta.Chunked{SHA256: [32]byte(sums[i].sha256), Chunks: chunks})
		}
	}
	return x
}
