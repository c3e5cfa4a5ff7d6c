package watch

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how deep a tree is watched. Nothing so deep can be published.
const maxDepth = 64

// maxOpen is how many open files are named.
const maxOpen = 8

// digest stands for what a folder holds: names, kinds, modes, inodes, and of
// files size and times. It costs the same for each folder, however many files
// lie in it.
type digest [16]byte

// look is what a scan found.
type look struct {
	folders map[string]digest
	files   int
	open    []string  // files open for writing, the first maxOpen
	opened  int       // how many there are
	marker  time.Time // when the marker was made or touched; zero when there is none
}

// sum is one digest for all.
func (l *look) sum() string {
	h := sha256.New()
	for _, p := range slices.Sorted(maps.Keys(l.folders)) {
		d := l.folders[p]
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write(d[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// differs returns the first folder that is not as it was.
func (l *look) differs(old map[string]digest) (first string, differs bool) {
	for p, d := range l.folders {
		if was, ok := old[p]; (!ok || was != d) && (!differs || p < first) {
			first, differs = p, true
		}
	}
	for p := range old {
		if _, ok := l.folders[p]; !ok && (!differs || p < first) {
			first, differs = p, true
		}
	}
	return first, differs
}

// scanner walks through folders. It follows no symlink, and goes into mounted
// file systems as into folders, as publishing does.
type scanner struct {
	t     *tree
	ctx   context.Context     // nil: not to be ended
	check func(p string) bool // which files to check for who writes to them; nil: none
	found func(p string)      // told of each file and folder; nil: nobody
	look  *look               // nil: only watch

	err     error           // that ended the walk
	limit   error           // why no more watches can be had
	missing int             // folders without a watch
	all     int             // folders
	ignored int             // entries that the rules leave out
	names   map[string]bool // of files
}

// scan looks through the tree, and watches what is not watched. check says which
// files are looked at for who writes to them.
func (t *tree) scan(ctx context.Context, check func(p string) bool) (*look, error) {
	t.listen()
	s := &scanner{t: t, ctx: ctx, check: check, look: &look{folders: map[string]digest{}}, names: map[string]bool{}}
	dir, err := t.openFolder(".")
	if err != nil {
		t.latest.root = true
		return nil, err
	}
	s.folder(t.root, dir, ".", 0)
	if s.err != nil {
		return nil, s.err
	}
	for p := range t.marks {
		if !s.names[p] {
			delete(t.marks, p) // no file, or gone
		}
	}
	t.book.ignored = s.ignored
	switch {
	case t.file == nil: // listen has said why
	case s.limit != nil && errors.Is(s.limit, unix.ENOSPC):
		t.problem = watchesProblem(s.missing, s.all)
	case s.limit != nil:
		t.problem = s.limit.Error()
	default:
		t.problem = ""
	}
	return s.look, nil
}

// folder takes over the descriptor dir.
func (s *scanner) folder(n *node, dir int, p string, depth int) {
	f := os.NewFile(uintptr(dir), p)
	defer func() { _ = f.Close() }()
	s.all++
	s.watch(n, dir)
	names, err := f.Readdirnames(-1)
	if err != nil {
		return // it is being removed, which is told of
	}
	slices.Sort(names)
	h := sha256.New()
	seen := map[string]bool{}
	for _, name := range names {
		if s.ctx != nil && s.ctx.Err() != nil {
			s.err = s.ctx.Err()
			return
		}
		if s.entry(n, dir, name, path.Join(p, name), depth, h) {
			seen[name] = true
		}
	}
	for name, c := range n.children {
		if !seen[name] {
			s.t.drop(c)
		}
	}
	if s.look != nil {
		s.look.folders[p] = digest(h.Sum(nil)[:16])
	}
}

// watch has the folder watched. Once there are no more watches to be had, none
// are asked for, but for folders that have one.
func (s *scanner) watch(n *node, dir int) {
	if s.limit != nil && n.wd == none {
		s.missing++
		return
	}
	err := s.t.watch(n, dir)
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		s.limit = err
		s.missing++
	case !errors.Is(err, unix.ENOENT):
		s.missing++
		s.limit = err
	}
}

// entry takes in one name of an open folder, and says whether it is a folder.
func (s *scanner) entry(n *node, dir int, name, p string, depth int, h hash.Hash) bool {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false // gone meanwhile
	}
	if s.look != nil && s.t.marker != "" && p == s.t.marker {
		s.look.marker = time.Unix(st.Ctim.Unix())
	}
	kind := st.Mode & unix.S_IFMT
	if s.t.filtered(p, kind == unix.S_IFDIR) {
		if s.t.only == "" && p != s.t.marker {
			s.ignored++
		}
		if s.look != nil && kind == unix.S_IFREG {
			s.names[p] = true
		}
		return false
	}
	if s.found != nil {
		s.found(p)
	}
	sign(h, name, &st)
	if kind == unix.S_IFDIR {
		return s.child(n, dir, name, p, depth+1)
	}
	if s.look == nil || kind != unix.S_IFREG {
		return false
	}
	s.look.files++
	s.names[p] = true
	if s.check != nil && s.check(p) && s.t.openForWriting(dir, name, p, st.Nlink) {
		if s.look.opened++; s.look.opened <= maxOpen {
			s.look.open = append(s.look.open, p)
		}
	}
	return false
}

// child goes into a folder of an open one.
func (s *scanner) child(n *node, dir int, name, p string, depth int) bool {
	if depth > maxDepth {
		return false
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // gone, or not to be read: publishing says so
	}
	c := n.children[name]
	if c == nil {
		c = &node{parent: n, name: name, wd: none}
		if n.children == nil {
			n.children = map[string]*node{}
		}
		n.children[name] = c
	}
	s.folder(c, fd, p, depth)
	return true
}

// sign adds an entry to the digest of its folder. What is in a folder has a
// digest of its own.
func sign(h hash.Hash, name string, st *unix.Stat_t) {
	b := make([]byte, 0, len(name)+64)
	b = append(b, name...)
	b = append(b, 0)
	for _, v := range []uint64{uint64(st.Mode), st.Ino} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		for _, v := range []int64{st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	_, _ = h.Write(b)
}
