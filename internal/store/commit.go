package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"distd/internal/manifest"
	"distd/internal/names"
)

// syncFSAt is the number of files and folders that are not durable from which on
// one sync of the whole file system is cheaper than one for each of them.
const syncFSAt = 2000

// defaultDirMode is the mode of folders that the manifest leaves out.
const defaultDirMode = 0o755

// Commit makes a staged release complete: all content must be in its content
// folder and be verified. Folders, symlinks, hard links, empty files, modes,
// times and owners are made as the manifest says, everything is synced, and the folder is renamed
// into releases. What the manifest does not list is removed. A file that is
// missing or has another size is ErrIncomplete.
//
// It may be called again after any error or crash. A release that is complete
// already is returned as it is. When ctx ends the release stays staged.
func (s *Store) Commit(ctx context.Context, id string) (*Release, error) {
	defer s.ids.lock(id)()
	r, err := s.Release(id)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if r.Complete {
		// An earlier call may have failed between the rename and the sync.
		if err := s.syncReleases(); err != nil {
			return nil, fmt.Errorf("commit release %s of channel %s: %w", id, r.Manifest.Channel, err)
		}
		return r, nil
	}
	done, err := s.commit(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("commit release %s of channel %s: %w", id, r.Manifest.Channel, err)
	}
	return s.remember(done), nil
}

func (s *Store) commit(ctx context.Context, r *Release) (*Release, error) {
	if err := s.finishContent(ctx, r); err != nil {
		return nil, err
	}
	for _, d := range []string{r.path + "/" + contentDir, r.path} {
		if err := s.fs.syncDir(d); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := s.newRelease(r.ID, r.Manifest, true)
	if err := s.fs.rename(r.path, done.path); err != nil {
		return nil, err
	}
	// From here on the release is complete for this process, whatever happens:
	// the folder has moved. Only a power cut could put it back into staging.
	s.remember(done)
	if err := s.syncReleases(); err != nil {
		return nil, err
	}
	if err := s.fs.removeIfThere(done.path + "/" + progressFile); err != nil {
		s.log.Warn("cannot remove the progress file of a complete release", zap.Error(err))
	}
	return done, nil
}

// content is a release's content folder while it is brought into its final
// form.
type content struct {
	*disk
	s     *Store
	m     *manifest.Manifest
	want  map[string]struct{} // every path
	dirs  []manifest.Dir      // all folders, sorted so that parents come first
	hides map[string]bool     // folders in which nothing can be opened when they have their modes

	linked  []uint64        // as in Store
	settled map[string]bool // folders in which nothing is left to do, as in spareTree
	// state is what a look at each of m.Files has shown, and each says that they
	// and the folders are synced one by one.
	state  []fileState
	each   bool
	toSync []string // files, below the content root, when all is as it should be

	mu     sync.Mutex
	inodes map[uint64][]int // files by inode, where it has several names
}

// fileState says what is left to do for a file.
type fileState uint8

const (
	fileRaw     fileState = iota // it may have another mode, time or owner
	fileRight                    // it is as it should be, but may not be durable
	fileDurable                  // nothing
)

// finishContent brings the content into the form that the manifest describes,
// and syncs it.
func (s *Store) finishContent(ctx context.Context, r *Release) error {
	c, done, err := s.openContent(r)
	if err != nil {
		return err
	}
	defer done()
	return c.finish(ctx)
}

func (c *content) finish(ctx context.Context) error {
	// First everything that makes, changes or removes entries of folders, as
	// that changes their times; then files, which may get another inode, and
	// their further names; then folders from the inside out.
	links := func(ctx context.Context) error { return c.makeHardLinks(ctx, nil) }
	for _, f := range []func(context.Context) error{c.makeDirs, c.makeFiles, c.partFiles, c.removeExtras, c.finishFiles, links, c.finishDirs} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openContent opens the content of a release for changes.
func (s *Store) openContent(r *Release) (c *content, done func(), err error) {
	at := r.path + "/" + contentDir
	root, err := s.root.OpenRoot(at)
	if err != nil {
		return nil, nil, explain("open folder", s.abs(at), err)
	}
	c = &content{s: s, m: r.Manifest, linked: s.linkedIn(r.ID), settled: maps.Clone(s.settledIn(r.ID)), inodes: map[uint64][]int{}, hides: map[string]bool{},
		disk: &disk{root: root, dir: s.abs(at), at: at + "/", step: s.step, owner: s.fs.owner}}
	c.list()
	return c, func() { _ = root.Close() }, nil
}

// list collects all paths that shall exist, and all folders.
func (c *content) list() {
	c.dirs = allDirs(c.m)
	c.unsettle()
	c.findHidden()
	c.want = map[string]struct{}{}
	for i := range c.m.Files {
		if p := c.m.ContentPath(c.m.Files[i].Path); !c.isSettled(p) {
			c.want[p] = struct{}{}
		}
	}
	for _, d := range c.dirs {
		c.want[d.Path] = struct{}{}
	}
}

// makeDirs makes the folders, and opens those that are too closed to work in.
func (c *content) makeDirs(context.Context) error {
	for _, d := range c.dirs {
		if c.settled[d.Path] {
			continue
		}
		st, err := c.root.Lstat(d.Path)
		switch {
		case err == nil && st.IsDir():
			if st.Mode().Perm()&0o700 != 0o700 {
				err = c.chmod(d.Path, st.Mode().Perm()|0o700)
			}
		case err == nil:
			if err = c.remove(d.Path); err == nil {
				err = c.mkdir(d.Path, 0o700)
			}
		case errors.Is(err, os.ErrNotExist):
			err = c.mkdir(d.Path, 0o700)
		default:
			err = explain("look at", c.abs(d.Path), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeFiles makes what is in no piece, symlinks and empty files, and looks
// whether the other files are there.
func (c *content) makeFiles(ctx context.Context) error {
	c.state = make([]fileState, len(c.m.Files))
	err := inChunks(ctx, c.s.workers, len(c.m.Files), func(ctx context.Context, from, to int) error {
		dir := &folder{root: c.root}
		defer dir.close()
		for i := from; i < to && ctx.Err() == nil; i++ {
			if err := c.makeFile(dir, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	todo := len(c.dirs) - len(c.settled)
	for _, s := range c.state {
		if s != fileDurable {
			todo++
		}
	}
	c.each = todo < c.s.syncFSAt
	return nil
}

// makeFile does it for one of them, and notes what is left to do.
func (c *content) makeFile(dir *folder, i int) error {
	f := &c.m.Files[i]
	name := c.m.ContentPath(f.Path)
	switch {
	case c.isSettled(name):
		c.state[i] = fileDurable
		return nil
	case f.Symlink != "":
		return c.makeSymlink(name, f.Symlink)
	case f.Hardlink != "": // when its file is what it shall be
		c.state[i] = fileDurable
		return nil
	}
	var st unix.Stat_t
	d, err := dir.open(path.Dir(name), false)
	if err == nil {
		err = unix.Fstatat(int(d.Fd()), path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	switch {
	case errors.Is(err, os.ErrNotExist) && f.Size == 0:
		return c.write(name, nil, 0o600)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s is missing", ErrIncomplete, c.abs(name))
	case err != nil:
		return explain("look at", c.abs(name), err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: %s is not a file", ErrIncomplete, c.abs(name))
	case st.Size != f.Size:
		return fmt.Errorf("%w: %s has %d of %d bytes", ErrIncomplete, c.abs(name), st.Size, f.Size)
	case st.Mode&0o777 != f.Mode || st.Mtim.Sec != f.MTime || st.Mtim.Nsec != 0 || !c.owner.has(st.Uid, st.Gid):
		return nil
	}
	c.state[i] = fileRight
	if st.Nlink > 1 {
		c.noteInode(st.Ino, i)
	}
	if c.linked != nil && c.linked[i] == st.Ino {
		c.state[i] = fileDurable
	}
	return nil
}

func (c *content) makeSymlink(name, target string) error {
	st, err := c.root.Lstat(name)
	if err == nil {
		if got, err := c.root.Readlink(name); err == nil && got == target {
			return nil
		}
		if st.IsDir() {
			err = c.purge(name)
		} else {
			err = c.remove(name)
		}
		if err != nil {
			return err
		}
	}
	return c.symlink(target, name)
}

// removeExtras removes what the manifest does not list.
func (c *content) removeExtras(ctx context.Context) error {
	if err := c.removeExtrasIn(ctx, "."); err != nil {
		return err
	}
	return parallel(ctx, c.s.workers, len(c.dirs), func(ctx context.Context, i int) error { return c.removeExtrasIn(ctx, c.dirs[i].Path) })
}

func (c *content) removeExtrasIn(ctx context.Context, dir string) error {
	if c.settled[dir] {
		return nil
	}
	entries, err := readDir(c.root, dir)
	if err != nil {
		return explain("read folder", c.abs(dir), err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dir, e.Name())
		if _, wanted := c.want[name]; wanted {
			continue
		}
		c.s.log.Warn("removing what is not part of the release", zap.String("path", c.abs(name)))
		if err := c.purge(name); err != nil {
			return err
		}
	}
	return nil
}

// finishFiles gives the files their modes and times and syncs them, several at
// a time: each sync waits for the disk, and file systems do several in one.
func (c *content) finishFiles(ctx context.Context) error {
	var todo []int
	for i, s := range c.state {
		if s == fileRaw || s == fileRight && c.each {
			todo = append(todo, i)
		}
		if s == fileRaw && c.linked != nil {
			c.linked[i] = 0 // it is another file, whatever inode it has
		}
	}
	err := parallel(ctx, c.s.workers, len(todo), func(_ context.Context, i int) error {
		f := &c.m.Files[todo[i]]
		return c.finishFile(f, c.each && c.closed(c.m.ContentPath(f.Path), f.Mode))
	})
	for _, i := range todo {
		f := &c.m.Files[i]
		if name := c.m.ContentPath(f.Path); c.each && !c.closed(name, f.Mode) {
			c.toSync = append(c.toSync, name)
		}
	}
	return err
}

// finishDirs does the same with the folders, from the inside out, those of one
// depth at the same time.
func (c *content) finishDirs(ctx context.Context) error {
	byDepth := make([][]manifest.Dir, names.MaxDepth+1)
	for _, d := range c.dirs {
		if c.settled[d.Path] {
			continue
		}
		n := strings.Count(d.Path, "/")
		byDepth[n] = append(byDepth[n], d)
	}
	for _, dirs := range slices.Backward(byDepth) {
		err := parallel(ctx, c.s.workers, len(dirs), func(_ context.Context, i int) error {
			return c.finishDir(dirs[i], c.each && c.closed(dirs[i].Path, dirs[i].Mode))
		})
		if err != nil {
			return err
		}
	}
	if c.each {
		return c.syncEach(ctx, byDepth)
	}
	return c.do(op{kind: "sync file system of", path: "."}, func() error { return syncFS(c.root) })
}

func (c *content) abs(name string) string { return c.dir + "/" + name }

// allDirs returns the folders of a release with their paths below the content
// root, parents first, including those that the manifest leaves out.
func allDirs(m *manifest.Manifest) []manifest.Dir {
	if m.Kind == manifest.KindFile {
		return nil
	}
	listed := map[string]manifest.Dir{}
	var add func(p string)
	add = func(p string) {
		if _, ok := listed[p]; ok || p == "." {
			return
		}
		listed[p] = manifest.Dir{Path: p, Mode: defaultDirMode, MTime: m.Created.Unix()}
		add(path.Dir(p))
	}
	for _, d := range m.Dirs {
		p := m.ContentPath(d.Path)
		add(p)
		listed[p] = manifest.Dir{Path: p, Mode: d.Mode, MTime: d.MTime}
	}
	for _, f := range m.Files {
		add(path.Dir(m.ContentPath(f.Path)))
	}
	return sortedDirs(listed)
}

// sameTime says whether a file has the time of the manifest, which knows whole
// seconds.
func sameTime(t time.Time, seconds int64) bool {
	return t.Unix() == seconds && t.Nanosecond() == 0
}
