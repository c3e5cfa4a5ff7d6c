package metainfo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	st, err := statPath(abs)
	if err != nil {
		return nil, err
	}
	s.tree = st.Mode&unix.S_IFMT == unix.S_IFDIR
	s.checkName(s.name, path)
	if err := s.visit("", st); err != nil {
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

func (s *source) file(i int) string {
	if rel := s.files[i].rel; rel != "" {
		return s.abs + "/" + rel
	}
	return s.abs
}

func statPath(path string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Stat(path, &st) }); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return &st, nil
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

// visit adds a file, or all that is below a folder.
func (s *scan) visit(rel string, st *unix.Stat_t) error {
	full := s.abs
	if rel != "" {
		full += "/" + rel
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return s.folder(rel, full, inode{uint64(st.Dev), st.Ino}) //nolint:unconvert // Dev is narrower elsewhere
	case unix.S_IFREG:
	default:
		s.problem(fmt.Errorf("%s: %w: it is neither a file nor a folder", full, ErrSource))
		return nil
	}
	if !s.asRoot {
		if err := unix.Faccessat(unix.AT_FDCWD, full, unix.R_OK, unix.AT_EACCESS); err != nil {
			s.problem(&fs.PathError{Op: "read", Path: full, Err: err})
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

func (s *scan) folder(rel, full string, self inode) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	for _, p := range s.parents {
		if p == self {
			s.problem(fmt.Errorf("%s: %w: it leads back to a folder above it", full, ErrSource))
			return nil
		}
	}
	if len(s.parents) > names.MaxDepth {
		s.problem(fmt.Errorf("%s: %w: it is deeper than %d levels", full, ErrSource, names.MaxDepth))
		return nil
	}
	list, err := os.ReadDir(full) // sorted by name
	if err != nil {
		s.problem(err)
		return nil
	}
	s.parents = append(s.parents, self)
	defer func() { s.parents = s.parents[:len(s.parents)-1] }()
	for _, d := range list {
		name := d.Name()
		if left(name) {
			s.skipped++
			continue
		}
		below := name
		if rel != "" {
			below = rel + "/" + name
		}
		if !s.checkName(name, full+"/"+name) {
			continue
		}
		st, err := statPath(s.abs + "/" + below)
		if err != nil {
			s.problem(err)
			continue
		}
		if err := s.visit(below, st); err != nil {
			return err
		}
	}
	return nil
}

// left says whether btmakemetafile left a name out of torrents.
func left(name string) bool { return name[0] == '.' || name == "core" || name == "CVS" }

// checkName checks what clients of old refuse, and distd itself.
func (s *scan) checkName(name, path string) bool {
	var err error
	switch {
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~"):
		err = fmt.Errorf("a name in a torrent must not begin with %q", name[:1])
	default:
		err = names.Element(name)
	}
	if err != nil {
		s.problem(fmt.Errorf("%q: %w: %w", path, ErrSource, err))
	}
	return err == nil
}
