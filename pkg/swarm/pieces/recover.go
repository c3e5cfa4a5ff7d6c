package pieces

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"distd/pkg/swarm/bitmap"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Recover finds out which pieces are here. Those in a valid progress record
// are taken from it, as far as their files are there and long enough; of the
// others all that have data on the disk are hashed. It also makes empty files
// and the folders of a store that may write, and cuts files that are too long.
//
// progress, when not nil, is called now and then, by one goroutine at a time,
// with the bytes hashed so far and those to hash in all. When ctx ends Recover
// returns its error; pieces found until then are in the set. It must return
// before any other method is called, and may be repeated when it has failed.
func (s *Store) Recover(ctx context.Context, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	root, err := s.files.useRoot()
	if err != nil {
		return fmt.Errorf("recover pieces: %w", explain(err))
	}
	defer s.files.unuseRoot()
	files, err := s.survey(ctx, root)
	if err != nil {
		return fmt.Errorf("recover pieces: %w", explain(err))
	}
	if s.complete {
		return s.checkComplete(files)
	}
	s.loadRecord(files)
	candidates, err := s.candidates(ctx, root, files)
	if err != nil {
		return fmt.Errorf("recover pieces: %w", explain(err))
	}
	if err := s.hash(ctx, candidates, progress); err != nil {
		return fmt.Errorf("recover pieces: %w", err)
	}
	return nil
}

// survey looks at every file: nil where there is none. In a store that may
// write it cuts files that are too long and makes empty ones.
func (s *Store) survey(ctx context.Context, root *os.Root) ([]fs.FileInfo, error) {
	infos := make([]fs.FileInfo, len(s.layout.Files))
	bare, err := isBare(root)
	if err != nil {
		return nil, err
	}
	for i, f := range s.layout.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if bare && f.Length > 0 {
			continue
		}
		name := s.files.name(i)
		info, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if f.Length > 0 || s.readOnly {
				continue
			}
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file; remove it", filepath.Join(root.Name(), name))
		case info.Size() <= f.Length:
			infos[i] = info
			continue
		case s.readOnly:
			s.log.Warn("file is longer than it was published; only its beginning is used",
				zap.String("file", filepath.Join(root.Name(), name)), zap.Int64("size", info.Size()), zap.Int64("published", f.Length))
			infos[i] = info
			continue
		}
		if infos[i], err = s.mend(i); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// isBare says that nothing is in the folder, as in that of a release that has just
// been staged: none of its files needs a look then.
func isBare(root *os.Root) (bool, error) {
	d, err := root.Open(".")
	if err != nil {
		return false, err
	}
	names, err := d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) == 0, errors.Join(err, d.Close())
}

// mend makes an empty file, or cuts one that is too long.
func (s *Store) mend(i int) (fs.FileInfo, error) {
	f, err := s.files.acquire(i, true)
	if err != nil {
		return nil, err
	}
	defer s.files.release(f)
	return f.Stat()
}

// checkComplete refuses a complete release that is not.
func (s *Store) checkComplete(infos []fs.FileInfo) error {
	for i, f := range s.layout.Files {
		if infos[i] == nil || infos[i].Size() < f.Length {
			return fmt.Errorf("recover pieces: %s is missing or too short in a release that was complete; fetch it again", filepath.Join(s.files.path(), s.files.name(i)))
		}
	}
	return nil
}

// loadRecord takes what the record names and the files can hold.
func (s *Store) loadRecord(infos []fs.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.ClearAll()
	s.named.ClearAll()
	if s.readOnly {
		s.stamps = stamps(infos)
	}
	if s.progress == "" {
		return
	}
	have, old, err := readRecord(s.progress, s.identity, s.layout.NumPieces(), len(s.stamps))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("progress record is of no use; hashing what is on the disk", zap.String("file", s.progress), zap.Error(err))
		}
		return
	}
	s.named.CopyFrom(have)
	for i, f := range s.layout.Files {
		changed := s.readOnly && old[i] != s.stamps[i]
		if infos[i] != nil && infos[i].Size() >= f.Length && !changed {
			continue
		}
		size := int64(0)
		if infos[i] != nil && !changed {
			size = infos[i].Size()
		}
		s.dropBehind(have, i, size)
	}
	s.have.CopyFrom(have)
}

// dropBehind takes the pieces with bytes at or behind offset size of file i out
// of the set.
func (s *Store) dropBehind(have *bitmap.Bitmap, i int, size int64) {
	_, last := s.layout.FilePieces(i)
	for p := int((s.layout.Offset(i) + size) / s.layout.PieceLength); p < last; p++ {
		have.Clear(p)
	}
}

// candidates is the set of pieces that are not here and may yet be on the
// disk: each of their parts has data. A hole is never data here, since what is
// written is written out; but content in place may well be sparse.
func (s *Store) candidates(ctx context.Context, root *os.Root, infos []fs.FileInfo) (*bitmap.Bitmap, error) {
	have := s.Have()
	todo := bitmap.New(have.Len())
	todo.SetAll()
	todo.AndNot(have)
	for i := range s.layout.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		first, last := s.layout.FilePieces(i)
		if p := todo.Next(first); p < 0 || p >= last {
			continue
		}
		if err := s.probe(root, i, infos[i], todo); err != nil {
			return nil, err
		}
	}
	return todo, nil
}

// probe takes the pieces that cannot be in file i out of todo.
func (s *Store) probe(root *os.Root, i int, info fs.FileInfo, todo *bitmap.Bitmap) error {
	if info == nil || info.Size() < s.layout.Files[i].Length {
		size := int64(0)
		if info != nil {
			size = info.Size()
		}
		s.dropBehind(todo, i, size)
		if size == 0 {
			return nil
		}
	}
	if s.readOnly {
		return nil
	}
	f, err := openRegular(root, s.files.name(i), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return s.dropHoles(f, i, info.Size(), todo)
}

// dropHoles takes the pieces whose part of file i is a hole out of todo.
func (s *Store) dropHoles(f *os.File, i int, size int64, todo *bitmap.Bitmap) error {
	first, last := s.layout.FilePieces(i)
	base := s.layout.Offset(i)
	var from, to int64
	for p := todo.Next(first); p >= 0 && p < last; p = todo.Next(p + 1) {
		begin := max(s.layout.PieceOffset(p)-base, 0)
		end := min(s.layout.PieceOffset(p)+s.layout.PieceSize(p)-base, s.layout.Files[i].Length)
		if to <= begin {
			var err error
			if from, to, err = nextData(f, begin, size); errors.Is(err, io.EOF) {
				from, to = size, size+1
			} else if err != nil {
				return err
			}
		}
		if from >= end {
			todo.Clear(p)
		}
	}
	return nil
}

// hash reads and verifies the pieces on several goroutines.
func (s *Store) hash(ctx context.Context, todo *bitmap.Bitmap, progress func(done, total int64)) error {
	total := int64(0)
	for p := range todo.Ones() {
		total += s.layout.PieceSize(p)
	}
	if total == 0 {
		return nil
	}
	progress(0, total)
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan int)
	g.Go(func() error {
		defer close(work)
		for p := range todo.Ones() {
			select {
			case work <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	var mu sync.Mutex
	done := int64(0)
	for range s.workers {
		g.Go(func() error {
			buf := make([]byte, min(s.layout.PieceLength, s.layout.Total))
			for p := range work {
				if s.hashPiece(p, buf[:s.layout.PieceSize(p)]) {
					s.found(p)
				}
				mu.Lock()
				done += s.layout.PieceSize(p)
				progress(done, total)
				mu.Unlock()
			}
			return nil
		})
	}
	return g.Wait()
}

// found adds a piece that was hashed. Its data may not be on the disk yet: it
// is synced before it is recorded.
func (s *Store) found(p int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.Set(p)
	if !s.readOnly {
		s.markDirty(p)
	}
}

// hashPiece says whether piece p is on the disk, whole and right. A piece that
// cannot be read is one that is not here.
func (s *Store) hashPiece(p int, buf []byte) bool {
	if err := s.read(buf, s.layout.PieceOffset(p)); err != nil {
		s.log.Warn("cannot read a piece; fetching it again", zap.Int("piece", p), zap.Error(err))
		return false
	}
	return s.verify(p, buf)
}
