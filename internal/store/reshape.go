package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// reshaping turns a tree of one release into that of another, as far as the one
// has what the other wants: it moves whole folders, removes what is not wanted,
// and makes folders. What is missing then is for others to put in.
type reshaping struct {
	*content  // of the tree, with the manifest that is wanted
	from      *manifest.Manifest
	was       []entryAt      // what is there, sorted as the manifest it came from
	has       []manifest.Dir // the folders that are there
	wantDirs  map[string]manifest.Dir
	moved     map[string]string // old path -> new one, of folders
	inodes    []uint64          // by place in the wanted manifest, of what is kept
	kept      int
	settled   map[string]bool
	unsettled map[string]bool
}

// entryAt is a file or symlink of the tree, where it is now: below the content
// root.
type entryAt struct {
	path string
	file *manifest.File
	to   int // place in the wanted manifest; -1: it is not wanted
}

// maxTries bounds the search for where folders have gone.
const maxTries = 256

// reshape does it with the spare of a release that lies at tmp.
func (s *Store) reshape(ctx context.Context, base, to *Release, tmp string) (*reshaping, error) {
	c, done, err := s.openContent(s.spare(to, tmp))
	if err != nil {
		return nil, err
	}
	defer done()
	r := &reshaping{content: c, from: base.Manifest, has: allDirs(base.Manifest), moved: map[string]string{}, unsettled: map[string]bool{},
		wantDirs: map[string]manifest.Dir{}, inodes: make([]uint64, len(to.Manifest.Files))}
	for _, d := range c.dirs {
		r.wantDirs[d.Path] = d
	}
	for i := range base.Manifest.Files {
		f := &base.Manifest.Files[i]
		r.was = append(r.was, entryAt{path: base.Manifest.ContentPath(f.Path), file: f})
	}
	for _, f := range []func(context.Context) error{r.checkDirs, r.moveDirs, r.match, r.look, r.clear, r.fill} {
		if err := f(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// checkDirs refuses a tree in which names have changed since it was made, and
// opens folders that are too closed to work in.
func (r *reshaping) checkDirs(context.Context) error {
	for i := range r.has {
		d := &r.has[i]
		st, err := r.root.Lstat(d.Path)
		if err != nil {
			return explain("look at", r.abs(d.Path), err)
		}
		if !r.rightDir(st, d) {
			return fmt.Errorf("%s: %w", r.abs(d.Path), errChanged)
		}
		if st.Mode().Perm()&0o700 != 0o700 {
			if err := r.chmod(d.Path, st.Mode().Perm()|0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveDirs gives the tree its name, and folders that are gone the names of new ones
// with the same files.
func (r *reshaping) moveDirs(context.Context) error {
	if r.from.Name != r.m.Name {
		if err := r.moveDir(r.from.Name, r.m.Name); err != nil {
			return err
		}
	}
	var at map[string][]string // paths that are wanted, by SHA-256
	for i, tries := 0, 0; i < len(r.has) && tries < maxTries; i++ {
		d := r.has[i].Path
		if _, wanted := r.wantDirs[d]; wanted {
			continue
		}
		if at == nil {
			at = r.wantedAt()
		}
		tries++
		to := r.newPlace(d, at)
		if to == "" {
			continue
		}
		if err := r.moveDir(d, to); err != nil {
			return err
		}
		i = -1 // what is in it has moved too
	}
	return nil
}

// wantedAt has the paths of files in folders that are not there.
func (r *reshaping) wantedAt() map[string][]string {
	is := map[string]bool{}
	for _, d := range r.has {
		is[d.Path] = true
	}
	at := map[string][]string{}
	for i := range r.m.Files {
		f := &r.m.Files[i]
		if p := r.m.ContentPath(f.Path); f.SHA256 != "" && !is[path.Dir(p)] {
			at[f.SHA256] = append(at[f.SHA256], p)
		}
	}
	return at
}

// newPlace is where a folder has gone: to the path at which its first file is
// wanted, if nothing is there and the folder above it is. Whether the other files
// are wanted there as well is seen when all are matched.
func (r *reshaping) newPlace(dir string, at map[string][]string) string {
	for i := range r.was {
		e := &r.was[i]
		rest, in := strings.CutPrefix(e.path, dir+"/")
		if !in || e.file.SHA256 == "" {
			continue
		}
		for _, p := range at[e.file.SHA256] {
			to, ok := strings.CutSuffix(p, "/"+rest)
			if !ok || to == dir {
				continue
			}
			if _, err := r.root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if st, err := r.root.Lstat(path.Dir(to)); err == nil && st.IsDir() {
				return to
			}
		}
		return ""
	}
	return ""
}

func (r *reshaping) moveDir(from, to string) error {
	if err := r.rename(from, to); err != nil {
		return err
	}
	r.moved[from] = to
	follow := func(p string) string {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			return to + rest
		}
		return p
	}
	for i := range r.was {
		r.was[i].path = follow(r.was[i].path)
	}
	for i := range r.has {
		r.has[i].Path = follow(r.has[i].Path)
	}
	slices.SortFunc(r.has, func(a, b manifest.Dir) int { return strings.Compare(a.Path, b.Path) })
	r.touch(path.Dir(from))
	r.touch(path.Dir(to))
	r.touch(to) // its entry for the folder above
	return nil
}

// touch notes that a folder is to be finished and synced.
func (r *reshaping) touch(dir string) { r.unsettled[dir] = true }

// match finds what stays: files and symlinks that are wanted just as they are.
func (r *reshaping) match(context.Context) error {
	places := make(map[string]int, len(r.m.Files))
	for i := range r.m.Files {
		places[r.m.ContentPath(r.m.Files[i].Path)] = i
	}
	for i := range r.was {
		e := &r.was[i]
		e.to = -1
		if place, ok := places[e.path]; ok {
			want := r.m.Files[place]
			want.Path = e.file.Path
			if want == *e.file {
				e.to = place
			}
		}
	}
	return nil
}

// look sees whether what stays is what it was when it was verified. What is not
// does not stay.
func (r *reshaping) look(ctx context.Context) error {
	var kept atomic.Int64
	err := inChunks(ctx, r.s.workers, len(r.was), func(ctx context.Context, from, to int) error {
		dir := &folder{root: r.root}
		defer dir.close()
		for i := from; i < to && ctx.Err() == nil; i++ {
			e := &r.was[i]
			if e.to < 0 {
				continue
			}
			ino, ok := r.intact(dir, e)
			if !ok {
				e.to = -1
				continue
			}
			r.inodes[e.to] = ino
			kept.Add(1)
		}
		return nil
	})
	r.kept = int(kept.Load())
	return err
}

func (r *reshaping) intact(dir *folder, e *entryAt) (ino uint64, ok bool) {
	d, err := dir.open(path.Dir(e.path), false)
	if err != nil {
		return 0, false
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), path.Base(e.path), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, false
	}
	f := e.file
	if st.Mtim.Sec != f.MTime || st.Mtim.Nsec != 0 || !r.owner.has(st.Uid, st.Gid) {
		return 0, false
	}
	if f.Symlink != "" {
		target, err := r.root.Readlink(e.path)
		return st.Ino, err == nil && target == f.Symlink
	}
	return st.Ino, st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o777 == f.Mode && st.Size == f.Size
}

// clear removes what does not stay.
func (r *reshaping) clear(ctx context.Context) error {
	for i := range r.was {
		e := &r.was[i]
		if e.to >= 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.remove(e.path); err != nil {
			return err
		}
		r.touch(path.Dir(e.path))
	}
	for _, d := range slices.Backward(r.has) {
		if _, wanted := r.wantDirs[d.Path]; wanted {
			continue
		}
		if err := r.remove(d.Path); err != nil {
			return err
		}
		r.touch(path.Dir(d.Path))
	}
	return nil
}

// fill makes the folders that are missing, and finds those that are settled.
func (r *reshaping) fill(context.Context) error {
	is := make(map[string]manifest.Dir, len(r.has))
	for _, d := range r.has {
		is[d.Path] = d
	}
	for _, d := range r.dirs {
		was, ok := is[d.Path]
		if !ok {
			if err := r.mkdir(d.Path, 0o700); err != nil {
				return err
			}
			r.touch(path.Dir(d.Path))
		}
		if was != d || d.Mode&0o700 != 0o700 {
			r.touch(d.Path)
		}
	}
	for i := range r.m.Files {
		if r.inodes[i] == 0 {
			r.touch(path.Dir(r.m.ContentPath(r.m.Files[i].Path)))
		}
	}
	r.settled = make(map[string]bool, len(r.dirs))
	for _, d := range r.dirs {
		if !r.unsettled[d.Path] {
			r.settled[d.Path] = true
		}
	}
	return nil
}
