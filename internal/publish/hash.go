package publish

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// How the bytes are hashed. One goroutine reads the source in order into
// chunks of whole pieces. Each chunk goes to a worker, which hashes its pieces
// (SHA-1 and SHA-256) and the files that lie wholly inside it. What cannot be
// divided is done by goroutines that follow the chunks in order: one hashes the
// files that span chunks (another one takes their MD5), and one writes the
// copy, as file systems let only one write to a file, or make files in a
// folder, at a time: more of them burn time waiting (three times as much for
// 1 GiB on ext4). With one huge file the first has a third of the work, done
// beside the other two. Chunks are used again when all are done with them;
// their number bounds the memory and how far reading runs ahead.

// chunkSize is how much is read at a time, in bytes, when pieces are shorter:
// enough to make the handing over cheap, little enough to stay in the cache
// between the hashes.
const chunkSize = 1 << 20

// maxChunks bounds the memory of all chunks, in bytes, when pieces are long.
const maxChunks = 256 << 20

// hashStep is how many bytes go through one hash before the next one gets
// them: as much as the processor's first caches hold.
const hashStep = 16 << 10

// sums is what reading the source gives.
type sums struct {
	sha1, sha256 []byte // of the pieces, one behind the other
	files        []fileSums
}

// fileSums are the hashes of one file; those of symlinks stay empty.
type fileSums struct{ sha256, md5 []byte }

// hasher is one run over the source.
type hasher struct {
	src         *source
	dst         *destination
	pieceLength int64
	md5         bool
	progress    func(done, total int64)
	chunking    *chunking // nil: none
	taken       *takeover // what need not be read; nil: nothing
	order       []int     // of the source's regular files in the release

	sums   sums
	free   chan *chunk
	work   chan *chunk
	chains []chan *chunk // in order, for the goroutines that hash spanning files

	mu   sync.Mutex // guards done and calls of progress
	done int64
}

// chunk is a run of whole pieces; the last piece of the release may be short.
type chunk struct {
	first int // index of its first piece
	data  []byte
	segs  []segment
	users atomic.Int32 // goroutines that still need it
}

// segment is the part of a chunk that belongs to one file.
type segment struct {
	file  int // index into source.files
	off   int64
	data  []byte
	whole bool // it is all of the file
	last  bool // it ends the file
	part  bool // not all of the file is read, and the file's hash is known
	copy  bool // it is to be written to the copy
}

// run reads the source once. When it returns, all its goroutines have ended.
func (h *hasher) run(ctx context.Context) (*sums, error) {
	pieces := int((h.src.total + h.pieceLength - 1) / h.pieceLength)
	h.sums = sums{
		sha1:   make([]byte, pieces*sha1.Size),
		sha256: make([]byte, pieces*sha256.Size),
		files:  make([]fileSums, len(h.src.files)),
	}
	workers := runtime.GOMAXPROCS(0)
	size := h.pieceLength * max(1, chunkSize/h.pieceLength)
	size = min(size, max(h.pieceLength, (h.src.total+h.pieceLength-1)/h.pieceLength*h.pieceLength))
	count := max(3, min(2*workers+2, int(maxChunks/size)))
	h.free, h.work = make(chan *chunk, count), make(chan *chunk, count)
	for range count {
		h.free <- &chunk{data: make([]byte, 0, size)}
	}
	g, ctx := errgroup.WithContext(ctx)
	h.addChain(ctx, g, h.fileHash(sha256.New(), func(f *fileSums, sum []byte) { f.sha256 = sum }))
	if h.md5 {
		h.addChain(ctx, g, h.fileHash(md5.New(), func(f *fileSums, sum []byte) { f.md5 = sum }))
	}
	if h.chunking != nil {
		h.addChain(ctx, g, func(s *segment) error {
			h.chunking.take(&h.src.files[s.file], s)
			return nil
		})
	}
	h.addChain(ctx, g, func(s *segment) error { return h.dst.write(h.src.files[s.file].path, s) })
	for range workers {
		g.Go(func() error { return h.worker(ctx) })
	}
	g.Go(func() error { return h.read(ctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if h.taken != nil {
		if err := h.taken.complete(&h.sums); err != nil {
			return nil, err
		}
	}
	h.report(0)
	return &h.sums, nil
}

// addChain starts a goroutine that does something with all segments in order.
func (h *hasher) addChain(ctx context.Context, g *errgroup.Group, do func(*segment) error) {
	chain := make(chan *chunk, cap(h.free))
	h.chains = append(h.chains, chain)
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case c, ok := <-chain:
				if !ok {
					return nil
				}
				for i := range c.segs {
					if err := do(&c.segs[i]); err != nil {
						return err
					}
				}
				h.release(c)
			}
		}
	})
}

// fileHash returns the work of a chain that hashes files that span chunks.
func (h *hasher) fileHash(sum hash.Hash, put func(*fileSums, []byte)) func(*segment) error {
	return func(s *segment) error {
		if s.whole || s.part {
			return nil
		}
		_, _ = sum.Write(s.data) // hashes do not fail
		if s.last {
			put(&h.sums.files[s.file], sum.Sum(nil))
			sum.Reset()
		}
		return nil
	}
}

// release gives a chunk back when its last user is done with it.
func (h *hasher) release(c *chunk) {
	if c.users.Add(-1) > 0 {
		return
	}
	clear(c.segs)
	c.segs, c.data = c.segs[:0], c.data[:0]
	h.free <- c
}

// worker hashes and copies chunks until there are no more.
func (h *hasher) worker(ctx context.Context) error {
	one, two := sha1.New(), sha256.New()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c, ok := <-h.work:
			if !ok {
				return nil
			}
			h.handle(c, one, two)
		}
	}
}

func (h *hasher) handle(c *chunk, one, two hash.Hash) {
	for i := 0; int64(i)*h.pieceLength < int64(len(c.data)); i++ {
		piece := c.data[int64(i)*h.pieceLength:]
		h.hashPiece(c.first+i, piece[:min(int64(len(piece)), h.pieceLength)], one, two)
	}
	for _, s := range c.segs {
		if s.whole {
			h.hashWhole(&s)
		}
	}
	n := int64(len(c.data))
	h.release(c)
	h.report(n)
}

// hashWhole hashes a file of one segment.
func (h *hasher) hashWhole(s *segment) {
	sum := sha256.Sum256(s.data)
	h.sums.files[s.file].sha256 = sum[:]
	if h.md5 {
		sum := md5.Sum(s.data)
		h.sums.files[s.file].md5 = sum[:]
	}
}

// hashPiece puts both hashes of a piece into their places.
func (h *hasher) hashPiece(i int, piece []byte, one, two hash.Hash) {
	one.Reset()
	two.Reset()
	for len(piece) > 0 {
		step := piece[:min(len(piece), hashStep)]
		_, _ = one.Write(step)
		_, _ = two.Write(step)
		piece = piece[len(step):]
	}
	one.Sum(h.sums.sha1[i*sha1.Size : i*sha1.Size])
	two.Sum(h.sums.sha256[i*sha256.Size : i*sha256.Size])
}

func (h *hasher) report(n int64) {
	if h.progress == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done += n
	h.progress(h.done, h.src.total)
}

// send hands a full chunk to everybody who needs it.
func (h *hasher) send(ctx context.Context, c *chunk) error {
	c.users.Store(int32(1 + len(h.chains)))
	for _, to := range append([]chan *chunk{h.work}, h.chains...) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case to <- c:
		}
	}
	return nil
}
