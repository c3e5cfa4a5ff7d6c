package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
	"distd/internal/names"
)

// walk lists a source. It goes from folder to folder by descriptors and never
// follows a symlink, so it cannot be led out of the source.
type walk struct {
	ctx context.Context
	src *source
	// again says that what was found is compared with what a walk has found before,
	// so that its names and rights need no second check: those of a file do not
	// change without its change time.
	again bool

	set         names.Set
	files, dirs []entry
	regular     int // regular files
	stripped    int
	// several counts the names here of each file that has more than one anywhere.
	several  map[inode]int
	problems problems // in the way of publishing
	skipped  problems // that were left out
}

// maxProblems is how many problems a message lists.
const maxProblems = 10

// problems collects what stands in the way of publishing, so that an operator
// learns of it at once and not one run after the other.
type problems struct {
	list  []error
	total int
}

func (p *problems) add(err error) {
	if p.total++; len(p.list) < maxProblems {
		p.list = append(p.list, err)
	}
}

func (p *problems) err() error {
	if p.total > len(p.list) {
		return errors.Join(append(p.list, fmt.Errorf("and %d more", p.total-len(p.list)))...)
	}
	return errors.Join(p.list...)
}

// run lists the tree, or the file called base.
func (w *walk) run(base string) error {
	top, err := w.src.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	if w.src.kind == manifest.KindFile {
		err = w.visit(top, base, base)
	} else {
		err = w.tree(top)
	}
	if err == nil {
		err = w.problems.err()
	}
	if err == nil && w.regular == 0 {
		err = errors.New("there is no file in it: a release has at least one, or an emptied folder would empty every node")
	}
	if err != nil {
		return err
	}
	return nil
}

func (w *walk) tree(top *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(top.Fd()), &st); err != nil {
		return err
	}
	w.addDir(".", toStat(&st))
	return w.folder(top, ".")
}

// folder lists an open folder and what is below it.
func (w *walk) folder(dir *os.File, rel string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	list, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	for _, name := range list {
		if err := w.visit(dir, name, path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

// visit adds one entry of an open folder. What is wrong with it is a problem
// of the release; an error ends the walk.
func (w *walk) visit(dir *os.File, name, rel string) error {
	if w.src.leaveOut != nil && w.src.leaveOut(rel) {
		return nil
	}
	ignored := w.src.ignore.matches(rel)
	if ignored && !w.src.ignore.mayKeepBelow(rel) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return w.src.changed(rel)
		}
		w.unreadable(&fs.PathError{Op: "stat", Path: rel, Err: err})
		return nil
	}
	e := entry{path: rel, stat: toStat(&st)}
	switch mode := e.stat.mode; {
	case ignored && !mode.IsDir():
	case mode.IsDir():
		return w.visitFolder(dir, name, e, ignored)
	case mode.IsRegular():
		w.visitFile(dir, name, e, st.Nlink > 1)
	case mode&fs.ModeSymlink != 0:
		return w.visitLink(dir, name, e)
	default:
		w.problems.add(fmt.Errorf("%s is a %s: only files, folders and symlinks can be published", rel, typeName(mode)))
	}
	return nil
}

// unreadable takes in what cannot be read. Only what is not allowed may be left
// out: other reasons are no property of the file.
func (w *walk) unreadable(err error) {
	if w.src.skipUnreadable && errors.Is(err, fs.ErrPermission) {
		w.skipped.add(err)
		return
	}
	w.problems.add(err)
}

func (w *walk) visitFile(dir *os.File, name string, e entry, several bool) {
	if !w.again {
		if err := unix.Faccessat(int(dir.Fd()), name, unix.R_OK, unix.AT_EACCESS); err != nil {
			w.unreadable(&fs.PathError{Op: "read", Path: e.path, Err: err})
			return
		}
		if err := w.set.Add(w.releasePath(e.path)); err != nil {
			w.problems.add(err)
			return
		}
	}
	if several {
		w.several[inode{e.stat.dev, e.stat.ino}]++
	}
	w.countStripped(e.stat)
	w.regular++
	w.files = append(w.files, e)
}

func (w *walk) visitLink(dir *os.File, name string, e entry) error {
	buf := make([]byte, names.MaxPath+1)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return w.src.changed(e.path)
	}
	e.target = string(buf[:n])
	if err := names.Symlink(e.path, e.target); err != nil {
		w.problems.add(fmt.Errorf("%w: a symlink in a release must be relative and stay inside it", err))
		return nil
	}
	if err := w.set.Add(w.releasePath(e.path)); err != nil {
		w.problems.add(err)
		return nil
	}
	w.files = append(w.files, e)
	return nil
}

// visitFolder adds a folder and what is below it. One that is ignored is there
// only for the sake of what is below it and is not ignored.
func (w *walk) visitFolder(dir *os.File, name string, e entry, ignored bool) error {
	if e.stat.dev == w.src.forbidden.dev && e.stat.ino == w.src.forbidden.ino {
		w.problems.add(fmt.Errorf("%s is where distd keeps its releases: publish a folder that does not hold it", e.path))
		return nil
	}
	if ignored || w.again {
		if strings.Count(e.path, "/") >= names.MaxDepth {
			return nil
		}
	} else if err := w.set.AddDir(w.releasePath(e.path)); err != nil {
		w.problems.add(err)
		return nil // also ends what is deeper than names may be
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		w.unreadable(&fs.PathError{Op: "open", Path: e.path, Err: err})
		return nil
	}
	sub := os.NewFile(uintptr(fd), e.path)
	defer func() { _ = sub.Close() }()
	before := len(w.files) + len(w.dirs)
	if err := w.folder(sub, e.path); err != nil {
		return err
	}
	if !ignored || len(w.files)+len(w.dirs) > before {
		w.addDir(e.path, e.stat)
	}
	return nil
}

func (w *walk) addDir(rel string, st stat) {
	w.countStripped(st)
	w.dirs = append(w.dirs, entry{path: rel, stat: st})
}

func (w *walk) countStripped(st stat) {
	if st.mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		w.stripped++
	}
}

// releasePath is the path that names are checked by: the one in the release.
func (w *walk) releasePath(rel string) string {
	if w.src.kind == manifest.KindFile {
		return w.src.name
	}
	return w.src.name + "/" + rel
}

// fileStat returns the stat of an open file.
func fileStat(f *os.File) (stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stat{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return toStat(&st), nil
}

func toStat(st *unix.Stat_t) stat {
	s := stat{
		dev: uint64(st.Dev), ino: st.Ino, size: st.Size, //nolint:unconvert // Dev is narrower elsewhere
		mtime: toInstant(st.Mtim), ctime: toInstant(st.Ctim),
		mode: fs.FileMode(st.Mode & 0o777),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		s.mode |= fs.ModeDir
	case unix.S_IFLNK:
		s.mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		s.mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		s.mode |= fs.ModeSocket
	case unix.S_IFBLK:
		s.mode |= fs.ModeDevice
	case unix.S_IFCHR:
		s.mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	if st.Mode&unix.S_ISUID != 0 {
		s.mode |= fs.ModeSetuid
	}
	if st.Mode&unix.S_ISGID != 0 {
		s.mode |= fs.ModeSetgid
	}
	if st.Mode&unix.S_ISVTX != 0 {
		s.mode |= fs.ModeSticky
	}
	return s
}

func toInstant(t unix.Timespec) instant {
	return instant{int64(t.Sec), int64(t.Nsec)} //nolint:unconvert // they are narrower elsewhere
}
