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

// take cuts the next part of the source. A file of which only a part is read, for
// the sake of its pieces, has its chunks in the index of the release before.
func (c *chunking) take(e *entry, s *segment) {
	if e.stat.size <= delta.Large || s.part {
		return
	}
	_, _ = c.chunker.Write(s.data) // it does not fail
	if s.last {
		c.files[s.file] = c.chunker.End()
	}
}

// index is what was cut, with the hashes of the files, and what old has of those
// that were not read.
func (c *chunking) index(sums []fileSums, old *delta.Index) *delta.Index {
	before := map[[32]byte][]delta.Chunk{}
	if old != nil && old.Class == c.class {
		for _, f := range old.Files {
			before[f.SHA256] = f.Chunks
		}
	}
	x := &delta.Index{Class: c.class}
	for i := range sums {
		chunks := c.files[i]
		if chunks == nil && len(sums[i].sha256) == len([32]byte{}) { // not a symlink
			chunks = before[[32]byte(sums[i].sha256)]
		}
		if chunks != nil {
			x.Files = append(x.Files, delta.Chunked{SHA256: [32]byte(sums[i].sha256), Chunks: chunks})
		}
	}
	return x
}
