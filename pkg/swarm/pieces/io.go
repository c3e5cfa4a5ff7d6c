package pieces

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// WritePiece writes piece i, whose bytes the caller has verified: data must be
// the whole piece. Afterwards it can be read; it is durable after the next
// Sync. Writing a piece that is there does nothing. On a full disk the error is
// ErrNoSpace and the call may be repeated.
func (s *Store) WritePiece(i int, data []byte) error {
	if s.readOnly {
		return fmt.Errorf("write piece %d: %w", i, ErrReadOnly)
	}
	if i < 0 || i >= s.layout.NumPieces() || int64(len(data)) != s.layout.PieceSize(i) {
		return fmt.Errorf("write piece %d: %d bytes are not a piece of this release", i, len(data))
	}
	if s.Has(i) {
		return nil
	}
	if err := s.unname(i); err != nil {
		return fmt.Errorf("write piece %d: %w", i, err)
	}
	off := int64(0)
	for seg := range s.layout.Segments(s.layout.PieceOffset(i), int64(len(data))) {
		if err := s.writeSegment(seg.File, data[off:off+seg.Length], seg.Offset); err != nil {
			return fmt.Errorf("write piece %d: %w", i, explain(err))
		}
		off += seg.Length
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.Set(i)
	s.markDirty(i)
	return nil
}

func (s *Store) writeSegment(file int, data []byte, off int64) error {
	if s.holds(file, data, off) {
		return nil
	}
	f, err := s.files.acquire(file, true)
	if err != nil {
		return err
	}
	defer s.files.release(f)
	s.soil(file)
	_, err = f.WriteAt(data, off)
	return err
}

// markDirty notes that the files of piece i hold data that is not synced, but for
// those that are durable.
func (s *Store) markDirty(i int) {
	for seg := range s.layout.Segments(s.layout.PieceOffset(i), s.layout.PieceSize(i)) {
		if s.durable == nil || !s.durable.Has(seg.File) {
			s.dirty[seg.File] = struct{}{}
		}
	}
}

// ReadAt fills buf with the bytes at offset begin of piece i. The error is
// ErrMissing when the piece is not here; other errors mean that the disk failed
// or that someone changed the file: Drop the piece then.
func (s *Store) ReadAt(buf []byte, i int, begin int64) error {
	if err := s.check(i, begin, int64(len(buf))); err != nil {
		return fmt.Errorf("read piece %d: %w", i, err)
	}
	if err := s.read(buf, s.layout.PieceOffset(i)+begin); err != nil {
		return fmt.Errorf("read piece %d: %w", i, err)
	}
	return nil
}

// check refuses a range that is not inside of a piece that is here.
func (s *Store) check(i int, begin, n int64) error {
	if !s.Has(i) {
		return ErrMissing
	}
	if begin < 0 || n < 0 || begin > s.layout.PieceSize(i)-n {
		return fmt.Errorf("%d bytes at %d are outside of it", n, begin)
	}
	return nil
}

// read fills buf with the bytes at offset off of the release.
func (s *Store) read(buf []byte, off int64) error {
	for seg := range s.layout.Segments(off, int64(len(buf))) {
		if err := s.readSegment(seg.File, buf[:seg.Length], seg.Offset); err != nil {
			return err
		}
		buf = buf[seg.Length:]
	}
	return nil
}

func (s *Store) readSegment(file int, buf []byte, off int64) error {
	f, err := s.files.acquire(file, false)
	if err != nil {
		return err
	}
	defer s.files.release(f)
	n, err := f.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = &os.PathError{Op: "read", Path: f.Name(), Err: io.ErrUnexpectedEOF}
	}
	return err
}

// FileRange returns the file, open for reading, and the offset in it that the
// n bytes at offset begin of piece i lie at, for sendfile. ok is false when
// they are not here, lie in several files, or too many files are in use: read
// them with ReadAt then. release must be called once and after the last use; it
// is nil when ok is false. The file's own offset must not be used.
func (s *Store) FileRange(i int, begin, n int64) (f *os.File, off int64, ok bool, release func()) {
	if s.check(i, begin, n) != nil || s.files.full() {
		return nil, 0, false, nil
	}
	for seg := range s.layout.Segments(s.layout.PieceOffset(i)+begin, n) {
		if seg.Length != n {
			break
		}
		of, err := s.files.acquire(seg.File, false)
		if err != nil {
			break
		}
		return of.File, seg.Offset, true, func() { s.files.release(of) }
	}
	return nil, 0, false, nil
}
