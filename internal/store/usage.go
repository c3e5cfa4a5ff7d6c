package store

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// Use is the space that releases take, in bytes of allocated blocks. A file that
// has several names, in one release or in many, is counted once.
type Use struct {
	Total int64
	// Freed is what removing one release alone would free, by ID: not what other
	// names still hold, be they other releases' or somebody's own.
	Freed map[string]int64
}

// usage knows the inodes of some releases.
type usage struct {
	inodes map[uint64]*inodeUse
	of     map[string]map[uint64]uint64 // by release: inode -> names that go with the release
}

type inodeUse struct {
	bytes int64
	names uint64 // that there are in all
	rels  int    // releases that have one
}

// measure looks at all files of the releases.
func (s *Store) measure(rels []*Release) *usage {
	u := &usage{inodes: map[uint64]*inodeUse{}, of: map[string]map[uint64]uint64{}}
	for _, r := range rels {
		mine := map[uint64]uint64{}
		u.of[r.ID] = mine
		add := func(name string) {
			st, err := s.root.Lstat(name)
			if err != nil || st.IsDir() {
				return
			}
			sys, ok := st.Sys().(*syscall.Stat_t)
			if !ok {
				return
			}
			if u.inodes[sys.Ino] == nil {
				u.inodes[sys.Ino] = &inodeUse{bytes: sys.Blocks * 512, names: nlink(st)}
			}
			if mine[sys.Ino]++; mine[sys.Ino] == 1 {
				u.inodes[sys.Ino].rels++
			}
		}
		places := []string{r.path}
		if s.Spare(r.ID) {
			places = append(places, spareDir(r.ID)) // it goes with the release
		}
		for _, at := range places {
			for _, f := range r.Manifest.Files {
				add(at + "/" + contentDir + "/" + r.Manifest.ContentPath(f.Path))
			}
		}
		if entries, err := readDir(s.root, r.path); err == nil {
			for _, e := range entries {
				add(r.path + "/" + e.Name())
			}
		}
		s.addLive(r, mine)
	}
	return u
}

// addLive counts the live name, if it is a file of the release: it goes with it.
func (s *Store) addLive(r *Release, mine map[uint64]uint64) {
	rec, err := s.nameRec(r.Manifest.Name)
	if err != nil || rec.ID != r.ID || r.Manifest.Kind != manifest.KindFile {
		return
	}
	if st, err := s.root.Lstat(r.Manifest.Name); err == nil {
		if id := identOf(st).Inode; mine[id] > 0 {
			mine[id]++
		}
	}
}

// freed is what removing the release frees.
func (u *usage) freed(id string) (n int64) {
	for inode, names := range u.of[id] {
		if i := u.inodes[inode]; names >= i.names {
			n += i.bytes
		}
	}
	return n
}

// total is what all releases take.
func (u *usage) total() (n int64) {
	for _, i := range u.inodes {
		n += i.bytes
	}
	return n
}

// remove takes a release out and returns by how much the total shrinks.
func (u *usage) remove(id string) (n int64) {
	for inode, names := range u.of[id] {
		i := u.inodes[inode]
		i.names -= min(names, i.names)
		if i.rels--; i.rels == 0 {
			n += i.bytes
			delete(u.inodes, inode)
		}
	}
	delete(u.of, id)
	return n
}

// usageFor is how long a measurement counts: each looks at every file.
const usageFor = time.Minute

// Usage is the space that the complete releases take. It is measured again when
// releases have come or gone.
func (s *Store) Usage() Use {
	s.usageMu.Lock()
	defer s.usageMu.Unlock()
	s.mu.RLock()
	changes := s.changes
	s.mu.RUnlock()
	if s.use.Freed != nil && s.usedAt == changes && time.Since(s.usedSince) < usageFor {
		return s.use
	}
	var rels []*Release
	for _, r := range s.Releases() {
		if r.Complete {
			rels = append(rels, r)
		}
	}
	u := s.measure(rels)
	s.use = Use{Total: u.total(), Freed: map[string]int64{}}
	for _, r := range rels {
		s.use.Freed[r.ID] = u.freed(r.ID)
	}
	s.usedAt, s.usedSince = changes, time.Now()
	return s.use
}

// Allocated is the space that a release's content has on the disk, in bytes.
func (s *Store) Allocated(id string) int64 {
	r, err := s.Release(id)
	if err != nil {
		return 0
	}
	var n int64
	_ = fs.WalkDir(s.root.FS(), r.path+"/"+contentDir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // what cannot be seen counts as not there
		}
		if st, err := d.Info(); err == nil {
			if sys, ok := st.Sys().(*syscall.Stat_t); ok {
				n += sys.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// Lacking is how many bytes a release has in files that no complete release has
// with the same SHA-256: what it needs on the disk where it shares the others.
func (s *Store) Lacking(m *manifest.Manifest) int64 {
	lacks := make(map[string]int64, len(m.Files)) // by SHA-256: bytes
	for i := range m.Files {
		if f := &m.Files[i]; f.InTorrent() {
			lacks[f.SHA256] += f.Size
		}
	}
	for _, r := range s.Releases() {
		if !r.Complete {
			continue
		}
		for i := range r.Manifest.Files {
			delete(lacks, r.Manifest.Files[i].SHA256)
		}
	}
	var n int64
	for _, size := range lacks {
		n += size
	}
	return n
}

// Space is what is free for distd on the store's file system, and its size, in
// bytes.
func (s *Store) Space() (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, 0, explain("look at the free space of", s.dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil //nolint:unconvert // their widths differ between platforms
}
