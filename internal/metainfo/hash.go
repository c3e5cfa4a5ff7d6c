package metainfo

import (
	"context"
	"crypto/sha1"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"distd/internal/layout"
)

// How the pieces are hashed. Workers take one run of pieces after the other, in
// order, read and hash them by themselves. There is nothing that they hand over
// and no order that they wait for: while some wait for a disk or for files to
// be opened, the others hash.

const (
	// runSize is how many bytes of pieces a worker takes at once: enough that a
	// file seldom has to be opened by two, little enough that all end together.
	runSize = 1 << 20
	// readSize is the most that is read at a time, in bytes. It is what a worker
	// holds in memory, and fits into the processor's caches.
	readSize = 64 << 10
	// maxWorkers bounds the workers on machines with very many processors.
	maxWorkers = 64
)

// hasher hashes the pieces of files. The functions are called by several
// goroutines at once.
type hasher struct {
	layout *layout.Layout
	// path is where a file lies below the folder that is open as dir, which may
	// be unix.AT_FDCWD; "" for a file that consists of zeros.
	path func(file int) string
	dir  int
	// check, if there is one, is called with an open file after bytes of it were
	// read, and what it returns is the error of the piece.
	check func(file, fd int) error
	// wanted says which pieces are hashed; nil for all.
	wanted func(piece int) bool
	// result takes a piece's hash, or why there is none: an error of ctx, or one
	// of reading the file. What it returns ends the run.
	result func(piece int, sum []byte, err *readError) error
	// progress may be nil. Its calls do not overlap.
	progress func(done, total int64)

	next atomic.Int64 // first piece that no worker has taken
	mu   sync.Mutex   // guards done and calls of progress
	done int64
}

// readError says why the bytes of a file could not be read.
type readError struct {
	file int
	err  error
}

// run returns when all goroutines that it started have ended.
func (h *hasher) run(ctx context.Context) error {
	runs := (h.layout.Total + runSize - 1) / runSize
	workers := min(int64(max(4, 2*runtime.GOMAXPROCS(0))), maxWorkers, runs)
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			w := worker{hasher: h, sum: sha1.New(), buf: make([]byte, readSize), file: -1, fd: -1}
			defer w.close()
			return w.run(ctx)
		})
	}
	return g.Wait()
}

func (h *hasher) report(n int64) {
	if h.progress == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done += n
	h.progress(h.done, h.layout.Total)
}

// worker is one goroutine of a hasher.
type worker struct {
	*hasher
	sum  hash.Hash
	out  [sha1.Size]byte
	buf  []byte
	file int // that is open, -1 for none
	fd   int
}

func (w *worker) run(ctx context.Context) error {
	pieces := int64(w.layout.NumPieces())
	step := max(1, runSize/w.layout.PieceLength)
	for {
		first := w.next.Add(step) - step
		if first >= pieces {
			return nil
		}
		var n int64
		for i := first; i < min(first+step, pieces); i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			n += w.layout.PieceSize(int(i))
			if w.wanted != nil && !w.wanted(int(i)) {
				continue
			}
			if err := w.piece(ctx, int(i)); err != nil {
				return err
			}
		}
		w.report(n)
	}
}

func (w *worker) piece(ctx context.Context, i int) error {
	w.sum.Reset()
	for s := range w.layout.Segments(w.layout.PieceOffset(i), w.layout.PieceSize(i)) {
		err := w.segment(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			w.close()
			return w.result(i, nil, &readError{s.File, err})
		}
	}
	return w.result(i, w.sum.Sum(w.out[:0]), nil)
}

// segment hashes a part of a file.
func (w *worker) segment(ctx context.Context, s layout.Segment) error {
	path := w.path(s.File)
	if path == "" {
		w.zeros(s.Length)
		return nil
	}
	if err := w.open(s.File, path); err != nil {
		return err
	}
	for end := s.Offset + s.Length; s.Offset < end; {
		buf := w.buf[:min(int64(len(w.buf)), end-s.Offset)]
		n := 0
		err := again(func() (err error) { n, err = unix.Pread(w.fd, buf, s.Offset); return err })
		switch {
		case err != nil:
			return &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return fmt.Errorf("%s ends at byte %d: %w", path, s.Offset, io.ErrUnexpectedEOF)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		_, _ = w.sum.Write(buf[:n]) // hashes do not fail
		s.Offset += int64(n)
	}
	if w.check != nil {
		return w.check(s.File, w.fd)
	}
	return nil
}

func (w *worker) zeros(n int64) {
	clear(w.buf)
	for n > 0 {
		part := min(n, int64(len(w.buf)))
		_, _ = w.sum.Write(w.buf[:part])
		n -= part
	}
}

// open opens a file, or takes the one that is open already. Files of package os
// would cost half as much again: they ask the poller about each one.
func (w *worker) open(file int, path string) error {
	if file == w.file {
		return nil
	}
	w.close()
	// Without O_NONBLOCK a named pipe that took the file's place would block.
	err := again(func() (err error) {
		w.fd, err = unix.Openat(w.dir, path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	w.file = file
	return nil
}

func (w *worker) close() {
	if w.file >= 0 {
		_ = unix.Close(w.fd)
		w.file = -1
	}
}
