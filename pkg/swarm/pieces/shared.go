package pieces

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"distd/pkg/swarm/bitmap"
)

// A file with several names may be another release's too, and what is written
// into it would be written into that one. In a store whose Config says Shared
// such a file is only ever read: a part of it that is right already need not be
// written, and if one is not, the store first takes a copy for itself.

// Durable says of files that are to be adopted, by their indexes in the layout,
// that their bytes are on the disk for good, as are those of links to files that
// are. Sync leaves them alone then, until something is written to them. Their
// names need not be durable: a record counts for no file that is missing.
func (s *Store) Durable(files []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durable == nil {
		s.durable = bitmap.New(len(s.layout.Files))
	}
	for _, i := range files {
		s.durable.Set(i)
	}
}

// soil notes that file i is about to be written to.
func (s *Store) soil(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durable != nil {
		s.durable.Clear(i)
	}
}

// Adopt takes files that the caller has put in their places, by their indexes in
// the layout, each whole and with bytes that were verified before. Pieces that
// lie in such files from end to end count as here, without being read. It must
// not run beside a write, and returns the number of pieces that it added.
func (s *Store) Adopt(files []int) int {
	files = slices.Clone(files)
	slices.Sort(files)
	adopted := make(map[int]struct{}, len(files))
	fresh := map[string]struct{}{}
	for _, i := range files {
		adopted[i] = struct{}{}
		if s.isDurable(i) {
			continue
		}
		for d := path.Dir(s.layout.Files[i].Path); ; d = path.Dir(d) {
			if _, seen := fresh[d]; seen {
				break
			}
			fresh[d] = struct{}{}
			if d == "." {
				break
			}
		}
	}
	s.files.putFresh(fresh)
	covered := func(p int) bool {
		for seg := range s.layout.Segments(s.layout.PieceOffset(p), s.layout.PieceSize(p)) {
			if _, ok := adopted[seg.File]; !ok {
				return false
			}
		}
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, next := 0, 0 // pieces before next have been looked at
	for _, i := range files {
		first, last := s.layout.FilePieces(i)
		for p := max(first, next); p < last; p++ {
			next = p + 1
			if !s.have.Has(p) && covered(p) {
				s.have.Set(p)
				s.markDirty(p)
				n++
			}
		}
	}
	return n
}

func (s *Store) isDurable(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable != nil && s.durable.Has(i)
}

// holds says whether file i is one that must not be written to and has these
// bytes already.
func (s *Store) holds(i int, data []byte, off int64) bool {
	if !s.files.mayBeShared(i) {
		return false
	}
	f, err := s.files.acquire(i, false)
	if err != nil {
		return false
	}
	defer s.files.release(f)
	got := make([]byte, len(data))
	_, err = f.ReadAt(got, off)
	return (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(got, data)
}

// mayBeShared says whether file i has several names, as far as can be seen.
func (t *fileTable) mayBeShared(i int) bool {
	if !t.shared || t.writable(i) {
		return false
	}
	root, err := t.useRoot()
	if err != nil {
		return false
	}
	defer t.unuseRoot()
	var info fs.FileInfo
	err = t.inFolder(root, i, func(dir *os.Root, name string) error {
		info, err = dir.Lstat(name)
		return err
	})
	return err == nil && info.Mode().IsRegular() && links(info) > 1
}

func (t *fileTable) writable(i int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.open[i]
	return f != nil && f.writable
}

// openOwn opens a file for writing that has no other name: of one that has, a
// copy takes its place first.
func (t *fileTable) openOwn(root *os.Root, name string) (*os.File, error) {
	if !t.shared {
		return openRegular(root, name, os.O_RDWR)
	}
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && links(info) > 1 {
		if err := unshare(root, name); err != nil {
			return nil, fmt.Errorf("take a copy of %s, which other releases have too: %w", name, err)
		}
	}
	f, err := openRegular(root, name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || links(now) > 1 {
		return nil, errors.Join(fmt.Errorf("%s was given another name while it was opened", name), err, f.Close())
	}
	return f, nil
}

// unshare puts a copy in the place of a file. It is durable before it has the
// name, as a record may vouch for what is in the file.
func unshare(root *os.Root, name string) error {
	from, err := openRegular(root, name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	tmp := filepath.Join(filepath.Dir(name), ".own-"+rand.Text())
	to, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err == nil {
		err = to.Sync()
	}
	err = errors.Join(err, to.Close())
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}
