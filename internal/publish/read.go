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
	earlier folders // of the release that files are taken over from
	ctx     context.Context
	cur     *chunk // being filled, nil when there is none
	pos     int64  // of the file that is read, in the release's bytes
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
	if h.taken != nil {
		root, err := os.OpenRoot(h.taken.from.ContentRoot())
		if err != nil {
			return fmt.Errorf("%w: %w", errStale, err)
		}
		r.earlier.top = root
		defer func() { _, _ = r.earlier.close(), root.Close() }() // they were only read
	}
	for _, i := range h.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if h.taken.has(i) {
			err = r.takenFile(i)
		} else {
			err = r.file(i)
		}
		if err != nil {
			return err
		}
		r.pos += h.src.files[i].stat.size
	}
	for i := range h.src.files {
		e := &h.src.files[i]
		if now, ok := r.linked[inode{e.stat.dev, e.stat.ino}]; ok {
			e.stat = now
		}
	}
	return r.flush()
}

// file reads file i. What it reads from is the source, or its clone when the
// file system could make one.
func (r *reader) file(i int) error {
	e := &r.src.files[i]
	in, err := r.open(e.path)
	if err != nil {
		return r.src.openError(e, err)
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
	if err := r.content(i, from, 0, e.stat.size, false); err != nil {
		return err
	}
	if from != in {
		return nil // nothing that happens to the source matters any more
	}
	return r.same(in, e)
}

// openError is why a file that was listed cannot be opened.
func (s *source) openError(e *entry, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) {
		return s.changed(e.path)
	}
	return fmt.Errorf("open %s: %w", e.path, cause(err))
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

// takenFile reads of file i, which is taken over, what lies in pieces that must
// be hashed. It is read where it is taken from, as that is what the pieces will
// be served from.
func (r *reader) takenFile(i int) error {
	size := r.src.files[i].stat.size
	var f *os.File
	defer func() {
		if f != nil {
			_ = f.Close() // it was only read
		}
	}()
	whole := r.needed(0, size) == size
	for off := int64(0); off < size; {
		n := r.needed(off, size)
		if n == 0 {
			n = min(size-off, r.pieceLength-(r.pos+off)%r.pieceLength)
			off += n
			if err := r.flush(); err != nil {
				return err
			}
			r.report(n)
			continue
		}
		if f == nil {
			m := r.taken.from.Manifest
			dir, base, err := r.earlier.open(m.ContentPath(m.Files[r.taken.files[i]].Path))
			if err == nil {
				f, err = dir.Open(base)
			}
			if err != nil {
				return fmt.Errorf("%w: %w", errStale, err)
			}
			if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() != size {
				return fmt.Errorf("%w: %s has another size", errStale, f.Name())
			}
		}
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return err
		}
		if err := r.content(i, f, off, off+n, !whole); err != nil {
			if r.ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("%w: %w", errStale, err)
		}
		off += n
	}
	return nil
}

// needed is how many bytes of the file that is read, from off on, lie in pieces
// that must be hashed.
func (r *reader) needed(off, size int64) int64 {
	end := off
	for end < size && r.taken.needs(int((r.pos+end)/r.pieceLength)) {
		end += r.pieceLength - (r.pos+end)%r.pieceLength
	}
	return min(end, size) - off
}

// content reads the bytes of file i from off to end from an open file into
// chunks. part says that they are not all of it.
func (r *reader) content(i int, from *os.File, off, end int64, part bool) error {
	size := r.src.files[i].stat.size
	for off < end {
		if err := r.ensure(off); err != nil {
			return err
		}
		have := len(r.cur.data)
		n := int(min(end-off, int64(cap(r.cur.data)-have)))
		buf := r.cur.data[have : have+n]
		if _, err := io.ReadFull(from, buf); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return r.src.changed(r.src.files[i].path)
			}
			return fmt.Errorf("read %s: %w", r.src.files[i].path, cause(err))
		}
		s := segment{file: i, off: off, data: buf, whole: int64(n) == size, last: off+int64(n) == size,
			part: part, copy: r.dst.method == Copy && !r.taken.has(i)}
		r.cur.data = r.cur.data[:have+n]
		r.cur.segs = append(r.cur.segs, s)
		off += int64(n)
	}
	return nil
}

// ensure makes sure that there is a chunk with room in it. A new one begins with
// the piece that begins at off of the file.
func (r *reader) ensure(off int64) error {
	if r.cur != nil && len(r.cur.data) < cap(r.cur.data) {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case r.cur = <-r.free:
		r.cur.first = int((r.pos + off) / r.pieceLength)
		return nil
	}
}

// flush hands the chunk over, if there is one.
func (r *reader) flush() error {
	c := r.cur
	if c == nil {
		return nil
	}
	r.cur = nil
	return r.send(r.ctx, c)
}
