package publish

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// reader fills chunks with the source's bytes.
type reader struct {
	*hasher
	folders folders // of the source
	ctx     context.Context
	cur     *chunk // being filled, nil when there is none
	next    int    // index of the piece that the next chunk begins with
	// linked has what became of the inodes that were linked in place. One of
	// them may have several names in the source.
	linked map[inode]stat
}

type inode struct{ dev, ino uint64 }

// read reads all files in order and closes the channels that it feeds.
func (h *hasher) read(ctx context.Context) error {
	defer func() {
		close(h.work)
		for _, c := range h.chains {
			close(c)
		}
	}()
	r := &reader{hasher: h, ctx: ctx, linked: map[inode]stat{}, folders: folders{top: h.src.root}}
	defer func() { _ = r.folders.close() }()
	for i := range h.src.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !h.src.files[i].regular() {
			continue
		}
		if err := r.file(i); err != nil {
			return err
		}
	}
	for i := range h.src.files {
		e := &h.src.files[i]
		if now, ok := r.linked[inode{e.stat.dev, e.stat.ino}]; ok {
			e.stat = now
		}
	}
	if r.cur == nil {
		return nil
	}
	return r.flush()
}

// file reads file i. What it reads from is the source, or its clone when the
// file system could make one.
func (r *reader) file(i int) error {
	e := &r.src.files[i]
	in, err := r.open(e.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) {
			return r.src.changed(e.path)
		}
		return fmt.Errorf("open %s: %w", e.path, cause(err))
	}
	defer func() { _ = in.Close() }()
	if err := r.same(in, e); err != nil {
		return err
	}
	if e.stat.size == 0 {
		r.empty(i)
		return nil
	}
	from, err := r.dst.begin(in, e)
	if err != nil {
		return err
	}
	if from != in {
		defer func() { _ = from.Close() }()
	}
	if r.dst.method == InPlace {
		// The new link has changed the inode's times.
		if e.stat, err = fileStat(in); err != nil {
			return err
		}
		r.linked[inode{e.stat.dev, e.stat.ino}] = e.stat
	}
	if err := r.content(i, from); err != nil {
		return err
	}
	if from != in {
		return nil // nothing that happens to the source matters any more
	}
	return r.same(in, e)
}

func (r *reader) open(path string) (*os.File, error) {
	dir, base, err := r.folders.open(path)
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK a named pipe that took the file's place would block.
	return dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
}

// same checks that an open file is still what the scan has seen.
func (r *reader) same(f *os.File, e *entry) error {
	now, err := fileStat(f)
	if err != nil {
		return err
	}
	if linked, ok := r.linked[inode{e.stat.dev, e.stat.ino}]; ok {
		e.stat = linked // another name of a file that was linked before
	}
	if now != e.stat {
		return r.src.changed(e.path)
	}
	return nil
}

// empty handles a file without bytes: it is in no piece, and the store makes
// it from the manifest.
func (r *reader) empty(i int) {
	f := &r.sums.files[i]
	sum := sha256.Sum256(nil)
	f.sha256 = sum[:]
	if r.md5 {
		sum := md5.Sum(nil)
		f.md5 = sum[:]
	}
}

// content reads file i from an open file into chunks.
func (r *reader) content(i int, from *os.File) error {
	size := r.src.files[i].stat.size
	for off := int64(0); off < size; {
		if err := r.ensure(); err != nil {
			return err
		}
		have := len(r.cur.data)
		n := int(min(size-off, int64(cap(r.cur.data)-have)))
		buf := r.cur.data[have : have+n]
		if _, err := io.ReadFull(from, buf); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return r.src.changed(r.src.files[i].path)
			}
			return fmt.Errorf("read %s: %w", r.src.files[i].path, cause(err))
		}
		s := segment{file: i, off: off, data: buf, whole: int64(n) == size, last: off+int64(n) == size, copy: r.dst.method == Copy}
		r.cur.data = r.cur.data[:have+n]
		r.cur.segs = append(r.cur.segs, s)
		off += int64(n)
	}
	return nil
}

// ensure makes sure that there is a chunk with room in it.
func (r *reader) ensure() error {
	if r.cur != nil && len(r.cur.data) < cap(r.cur.data) {
		return nil
	}
	if r.cur != nil {
		if err := r.flush(); err != nil {
			return err
		}
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case r.cur = <-r.free:
		r.cur.first = r.next
		return nil
	}
}

// flush hands the chunk over.
func (r *reader) flush() error {
	c := r.cur
	r.cur = nil
	r.next += int((int64(len(c.data)) + r.pieceLength - 1) / r.pieceLength)
	return r.send(r.ctx, c)
}
