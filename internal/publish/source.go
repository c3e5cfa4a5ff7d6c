package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distd/internal/manifest"
)

// source is what is being published: a file or the tree below a folder.
type source struct {
	path string   // as the operator knows it, for messages
	real string   // the same without symlinks
	root *os.Root // the folder, or the one that the file lies in
	kind manifest.Kind
	scope
	ignore *Ignore // what is left out by patterns
	// name is the release's name, under which the source appears in it.
	name string

	// files are regular files and symlinks, dirs folders; both sorted by path.
	files, dirs []entry
	skipped     problems // what was left out as it may not be read
	total       int64    // bytes of the regular files, each once
	stripped    int      // files and folders whose set-ID or sticky bits are left out
	// scanned is when the listing began.
	scanned time.Time
}

// scope says what of a source is published.
type scope struct {
	forbidden      stat // a folder that must not be in the source: the store's own
	leaveOut       func(path string) bool
	skipUnreadable bool
	exclude        []string // patterns besides those of the tree's own file
}

// entry is a file, symlink or folder of the source.
type entry struct {
	path   string // below source.root, "." for the tree's root
	stat   stat
	target string // of a symlink
	// first is, for a further name of a file, the first one in the release.
	first string
}

// stat is what tells whether a file was changed or replaced.
type stat struct {
	dev, ino     uint64
	mode         fs.FileMode
	size         int64
	mtime, ctime instant
}

// instant is a time as the kernel gives it. In nanoseconds alone, times that
// are far off would not fit.
type instant struct{ sec, nsec int64 }

func (i instant) time() time.Time { return time.Unix(i.sec, i.nsec) }

// regular says whether the entry is a file with bytes of its own in the release:
// neither a symlink nor a further name.
func (e entry) regular() bool { return e.stat.mode.IsRegular() && e.first == "" }

// tick is longer than the kernel's clock for time stamps stands still. A file
// that is changed twice within it may show the same times twice.
const tick = 25 * time.Millisecond

// openSource opens the path and lists what is below it. A path that is a
// symlink itself is followed.
func openSource(ctx context.Context, path, name string, sc scope) (*source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = filepath.Base(abs)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	s := &source{path: path, real: abs, kind: manifest.KindTree, name: name, scope: sc}
	folder := abs
	switch {
	case st.Mode().IsRegular():
		s.kind, folder = manifest.KindFile, filepath.Dir(abs)
	case !st.IsDir():
		return nil, fmt.Errorf("it is a %s, neither file nor folder", typeName(st.Mode()))
	}
	if s.root, err = os.OpenRoot(folder); err != nil {
		return nil, err
	}
	if s.kind == manifest.KindTree {
		if s.ignore, err = readIgnore(s.root, s.exclude); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if err := s.settle(ctx, filepath.Base(abs)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *source) close() error { return s.root.Close() }

// settle scans until nothing in the source is so young that a change after the
// scan could carry the same time stamps as before it.
func (s *source) settle(ctx context.Context, base string) error {
	for range 5 {
		if err := s.scan(ctx, base, false); err != nil {
			return err
		}
		newest := later(later(time.Time{}, s.files), s.dirs)
		age := s.scanned.Sub(newest) // what was written later may not have been seen
		// A clock that was set back is no reason to wait.
		if age >= tick || newest.After(time.Now()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tick - age):
		}
	}
	return fmt.Errorf("%w: something writes to it all the time", ErrSourceChanged)
}

// later is the newest of t and the change times of entries.
func later(t time.Time, entries []entry) time.Time {
	for i := range entries {
		if c := entries[i].stat.ctime.time(); c.After(t) {
			t = c
		}
	}
	return t
}

// scan lists the source, for the first time or again.
func (s *source) scan(ctx context.Context, base string, again bool) error {
	w := &walk{ctx: ctx, src: s, again: again, several: map[inode]int{}}
	s.scanned = time.Now()
	if err := w.run(base); err != nil {
		return err
	}
	byPath := func(a, b entry) int { return strings.Compare(a.path, b.path) }
	slices.SortFunc(w.files, byPath)
	slices.SortFunc(w.dirs, byPath)
	s.files, s.dirs, s.stripped, s.skipped = w.files, w.dirs, w.stripped, w.skipped
	s.total = joinNames(w.files, w.several)
	return nil
}

// joinNames finds the further names of files in a sorted list, and returns the
// bytes of all files, each counted once. A file whose other names are not in the
// list, as they lie elsewhere or are left out, is like any other.
func joinNames(files []entry, several map[inode]int) (total int64) {
	first := map[inode]string{}
	for i := range files {
		e := &files[i]
		if !e.stat.mode.IsRegular() {
			continue
		}
		if at := (inode{e.stat.dev, e.stat.ino}); several[at] > 1 {
			if e.first = first[at]; e.first != "" {
				continue
			}
			first[at] = e.path
		}
		total += e.stat.size
	}
	return total
}

// verify scans again and says whether anything differs. The caller has put
// into files and dirs what it changed itself.
func (s *source) verify(ctx context.Context) error {
	base := "."
	if s.kind == manifest.KindFile {
		base = s.files[0].path
	}
	now := &source{path: s.path, root: s.root, kind: s.kind, name: s.name, scope: s.scope, ignore: s.ignore}
	// What may not be read and was left out must be left out again.
	if err := now.scan(ctx, base, s.skipped.total == 0); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// What could be read before cannot now.
		return fmt.Errorf("%w: %w", ErrSourceChanged, err)
	}
	if e, ok := firstDifference(s.files, now.files); ok {
		return s.changed(e)
	}
	if e, ok := firstDifference(s.dirs, now.dirs); ok {
		return s.changed(e)
	}
	return nil
}

// changed is the error for a file that was changed during the publish.
func (s *source) changed(path string) error {
	return fmt.Errorf("%w: %s; nothing was published, try again when nothing writes there", ErrSourceChanged, path)
}

func firstDifference(a, b []entry) (path string, ok bool) {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return min(a[i].path, b[i].path), true
		}
	}
	if len(a) == len(b) {
		return "", false
	}
	return slices.Concat(a[min(len(a), len(b)):], b[min(len(a), len(b)):])[0].path, true
}

// typeName says in words what a special file is.
func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeCharDevice != 0:
		return "character device"
	case m&fs.ModeDevice != 0:
		return "block device"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	default:
		return "special file"
	}
}
