package pieces

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// syncAllFrom is the number of files and folders from which on one sync of the
// whole file system is cheaper than one of each.
const syncAllFrom = 64

// syncsAtOnce is the number of files that are synced at a time.
const syncsAtOnce = 8

// LostError is a Sync that failed in a way that leaves it open what is on the
// disk: the kernel drops what it could not write. The pieces were dropped and
// must be fetched again.
type LostError struct {
	Pieces []int
	Err    error
}

// Error says how much was lost and why.
func (e *LostError) Error() string {
	return fmt.Sprintf("sync pieces: %d pieces may not have reached the disk: %v", len(e.Pieces), e.Err)
}

// Unwrap returns the cause; a full disk is ErrNoSpace.
func (e *LostError) Unwrap() error { return e.Err }

// Sync makes what was written so far durable: first the data, then the record
// that names it. It may run beside all other calls, and takes as long as the
// disk needs; ctx ends it between two files. A *LostError names pieces that
// must be fetched again; after other errors everything is as before and Sync
// may be repeated.
func (s *Store) Sync(ctx context.Context) error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	s.pending = s.have.Clone()
	dirty := s.dirty
	s.dirty = map[int]struct{}{}
	s.mu.Unlock()
	fresh := s.files.takeFresh()
	if err := s.syncData(ctx, dirty, fresh); err != nil {
		s.mu.Lock()
		maps.Copy(s.dirty, dirty)
		s.pending = nil
		s.mu.Unlock()
		s.files.putFresh(fresh)
		return err
	}
	return s.record()
}

// syncData makes the data of files and the entries of folders durable.
func (s *Store) syncData(ctx context.Context, files map[int]struct{}, dirs map[string]struct{}) error {
	if len(files)+len(dirs) == 0 {
		return nil
	}
	if len(files)+len(dirs) >= syncAllFrom {
		if err := s.syncAll(files); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	list := slices.Collect(maps.Keys(files))
	sort.Ints(list)
	// Each waits for the disk, and file systems do several in one.
	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	failed := make([]error, len(list))
	for k, i := range list {
		g.Go(func() error {
			if failed[k] = ctx.Err(); failed[k] == nil {
				failed[k] = s.syncFile(i)
			}
			return nil
		})
	}
	_ = g.Wait()
	if err := firstLost(failed); err != nil {
		return err
	}
	for d := range dirs {
		if err := s.syncDir(d); err != nil {
			return fmt.Errorf("sync folder %s: %w", d, explain(err))
		}
	}
	return nil
}

// firstLost is one error for several: with all pieces that are lost, if there are any.
func firstLost(failed []error) (first error) {
	var all *LostError
	for _, err := range failed {
		var lost *LostError
		switch {
		case errors.As(err, &lost) && all == nil:
			all = lost
		case lost != nil:
			all.Pieces = append(all.Pieces, lost.Pieces...)
		case first == nil && err != nil:
			first = fmt.Errorf("sync pieces: %w", err)
		}
	}
	if all == nil {
		return first
	}
	sort.Ints(all.Pieces)
	return all
}

func (s *Store) syncFile(i int) error {
	f, err := s.files.acquire(i, false)
	if err != nil {
		return fmt.Errorf("sync %s: %w", s.layout.Files[i].Path, explain(err))
	}
	defer s.files.release(f)
	if err := s.fsync(f.File); err != nil {
		return s.lose(map[int]struct{}{i: {}}, err)
	}
	return nil
}

func (s *Store) syncDir(dir string) error {
	root, err := s.files.useRoot()
	if err != nil {
		return err
	}
	defer s.files.unuseRoot()
	d, err := root.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// syncAll makes everything on the file system durable.
func (s *Store) syncAll(files map[int]struct{}) error {
	if _, err := s.files.useRoot(); err != nil {
		return fmt.Errorf("sync pieces: %w", explain(err))
	}
	defer s.files.unuseRoot()
	switch err := s.syncfs(s.files.folder); {
	case errors.Is(err, errors.ErrUnsupported):
		return err
	case err != nil:
		return s.lose(files, err)
	}
	return nil
}

// lose drops every piece in the files that no earlier Sync has made durable.
func (s *Store) lose(files map[int]struct{}, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := &LostError{Err: explain(err)}
	for i := range files {
		first, last := s.layout.FilePieces(i)
		for p := first; p < last; p++ {
			if !s.named.Has(p) && s.have.Clear(p) {
				lost.Pieces = append(lost.Pieces, p)
			}
		}
	}
	sort.Ints(lost.Pieces)
	s.log.Warn("disk refused data that it had taken; fetching it again",
		zap.Int("pieces", len(lost.Pieces)), zap.String("dir", s.files.path()), zap.Error(err))
	return lost
}

// record writes the progress record of pending, unless the one on the disk
// says the same. The caller holds syncMu.
func (s *Store) record() error {
	s.mu.Lock()
	have := s.pending
	s.pending = nil
	if have.Equal(s.named) && !s.stale {
		s.mu.Unlock()
		return nil
	}
	// Until the write is done either record may be found after a crash.
	s.named.Or(have)
	s.stale = true
	stamps := s.stamps
	s.mu.Unlock()
	if s.progress != "" {
		if err := writeRecord(s.progress, encodeRecord(s.identity, have, stamps)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named, s.stale = have, false
	return nil
}

// unname takes piece i out of the record on the disk before it is written
// again, since a crash halfway must not leave a record that vouches for it.
func (s *Store) unname(i int) error {
	if !s.mayName(i) {
		return nil
	}
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	if !s.mayName(i) {
		return nil
	}
	s.mu.Lock()
	s.pending = s.named.Clone()
	s.pending.And(s.have)
	s.mu.Unlock()
	return s.record()
}

func (s *Store) mayName(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named.Has(i)
}
