package metainfo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"distd/internal/names"
	"distd/pkg/torrentfile"
)

// source is what a torrent is made of.
type source struct {
	path string // as the operator gave it, for messages
	abs  string
	name string
	tree bool

	files   []entry // in the torrent's order
	total   int64
	skipped int
}

// entry is a file of the source.
type entry struct {
	rel  string // slash-separated below the source, "" for the source itself
	stat stat
}

// stat is what tells whether a file was changed or replaced.
type stat struct {
	dev, ino, size uint64
	mtime, ctime   unix.Timespec
}

type inode struct{ dev, ino uint64 }

func toStat(st *unix.Stat_t) stat {
	return stat{dev: uint64(st.Dev), ino: st.Ino, size: uint64(st.Size), mtime: st.Mtim, ctime: st.Ctim} //nolint:unconvert // Dev is narrower elsewhere
}

// maxProblems is how many problems of a source a message lists.
const maxProblems = 10

// scan is the walk over a source. As btmakemetafile did it follows symlinks,
// leaves out the same names, and goes by the names' bytes, one element of the
// path after the other: a/x comes before a.b.
type scan struct {
	*source
	ctx      context.Context
	parents  []inode // of the folder that is being read
	asRoot   bool
	problems []error
	more     int // problems that are not listed
}

// openSource lists what lies at path.
func openSource(ctx context.Context, path string) (*source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &scan{ctx: ctx, source: &source{path: path, abs: abs, name: filepath.Base(abs)}, asRoot: os.Geteuid() == 0}
	var st unix.Stat_t
	if err := again(func() error { return unix.Stat(abs, &st) }); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	s.tree = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if err := checkName(s.name); err != nil {
		s.problem(fmt.Errorf("%q: %w: %w", path, ErrSource, err))
	}
	if err := s.visit(unix.AT_FDCWD, abs, "", &st); err != nil {
		return nil, err
	}
	if s.more > 0 {
		s.problems = append(s.problems, fmt.Errorf("and %d more", s.more))
	}
	switch err := errors.Join(s.problems...); {
	case err != nil:
		return nil, err
	case len(s.files) == 0:
		return nil, fmt.Errorf("%s: %w: there is no file in it", path, ErrSource)
	}
	return s.source, nil
}

// file is where file i lies.
func (s *source) file(i int) string { return s.full(s.files[i].rel) }

func (s *source) full(rel string) string {
	if rel == "" {
		return s.abs
	}
	return s.abs + "/" + rel
}

// again calls a system call until no signal interrupts it.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *scan) problem(err error) {
	if len(s.problems) == maxProblems {
		s.more++
		return
	}
	s.problems = append(s.problems, err)
}

// visit adds a file, or all that is below a folder. name is what it is called in
// the open folder dir.
func (s *scan) visit(dir int, name, rel string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return s.folder(dir, name, rel, inode{uint64(st.Dev), st.Ino}) //nolint:unconvert // Dev is narrower elsewhere
	case unix.S_IFREG:
	default:
		s.problem(fmt.Errorf("%s: %w: it is neither a file nor a folder", s.full(rel), ErrSource))
		return nil
	}
	if !s.asRoot {
		if err := unix.Faccessat(dir, name, unix.R_OK, unix.AT_EACCESS); err != nil {
			s.problem(&fs.PathError{Op: "read", Path: s.full(rel), Err: err})
			return nil
		}
	}
	if len(s.files) == torrentfile.MaxFiles {
		return fmt.Errorf("%s: %w: there are more than %d files in it", s.path, ErrSource, torrentfile.MaxFiles)
	}
	s.files = append(s.files, entry{rel: rel, stat: toStat(st)})
	s.total += st.Size
	return nil
}

// folder lists the folder name in the open folder dir, and what is below it.
func (s *scan) folder(dir int, name, rel string, self inode) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	for _, p := range s.parents {
		if p == self {
			s.problem(fmt.Errorf("%s: %w: it leads back to a folder above it", s.full(rel), ErrSource))
			return nil
		}
	}
	if len(s.parents) > names.MaxDepth {
		s.problem(fmt.Errorf("%s: %w: it is deeper than %d levels", s.full(rel), ErrSource, names.MaxDepth))
		return nil
	}
	fd := -1
	err := again(func() (err error) {
		fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		s.problem(&fs.PathError{Op: "open", Path: s.full(rel), Err: err})
		return nil
	}
	f := os.NewFile(uintptr(fd), s.full(rel))
	defer func() { _ = f.Close() }()
	list, err := f.Readdirnames(-1)
	if err != nil {
		s.problem(err)
		return nil
	}
	slices.Sort(list)
	s.parents = append(s.parents, self)
	defer func() { s.parents = s.parents[:len(s.parents)-1] }()
	for _, name := range list {
		if err := s.below(fd, name, rel); err != nil {
			return err
		}
	}
	return nil
}

// below visits one entry of the open folder at rel.
func (s *scan) below(dir int, name, rel string) error {
	if left(name) {
		s.skipped++
		return nil
	}
	if rel != "" {
		rel += "/"
	}
	rel += name
	if err := checkName(name); err != nil {
		s.problem(fmt.Errorf("%q: %w: %w", s.full(rel), ErrSource, err))
		return nil
	}
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(dir, name, &st, 0) }); err != nil {
		s.problem(&fs.PathError{Op: "stat", Path: s.full(rel), Err: err})
		return nil
	}
	return s.visit(dir, name, rel, &st)
}

// left says whether btmakemetafile left a name out of torrents.
func left(name string) bool { return name[0] == '.' || name == "core" || name == "CVS" }

// checkName checks what clients of old refuse, and distd itself.
func checkName(name string) error {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") {
		return fmt.Errorf("a name in a torrent must not begin with %q", name[:1])
	}
	return names.Element(name)
}
