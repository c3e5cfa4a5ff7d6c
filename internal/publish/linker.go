package publish

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
	"distd/internal/store"
)

// linker puts files of a release into the workspace.
type linker struct {
	src, dst folders
	err      error
}

func newLinker(st *store.Store, from *store.Release) *linker {
	l := &linker{}
	if l.src.top, l.err = os.OpenRoot(from.ContentRoot()); l.err == nil {
		l.dst.top, l.err = st.Root().OpenRoot(contentDir)
	}
	return l
}

// look returns the inode of a release's file, which must have the size and time
// with which it was verified.
func (l *linker) look(name string, f *manifest.File) (ino uint64, err error) {
	if l.err != nil {
		return 0, l.err
	}
	dir, base, err := l.src.openFile(name)
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, &os.PathError{Op: "look at", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != f.Size || st.Mtim.Sec != f.MTime || st.Mtim.Nsec != 0 {
		return 0, fmt.Errorf("%s is not what was verified: it has another size or time", name)
	}
	return st.Ino, nil
}

// take makes the file to, in a folder that exists, of the release's file from.
// It is linked when it may be and the file system can, else it is a copy with
// blocks that are shared where possible.
func (l *linker) take(from, to string, link bool) (linked bool, err error) {
	if l.err != nil {
		return false, l.err
	}
	if link {
		src, name, err := l.src.openFile(from)
		if err != nil {
			return false, err
		}
		dst, base, err := l.dst.openFile(to)
		if err != nil {
			return false, err
		}
		if unix.Linkat(int(src.Fd()), name, int(dst.Fd()), base, 0) == nil {
			return true, nil
		}
	}
	return false, l.copy(from, to)
}

// copy copies a file, sharing its blocks where the file system can.
func (l *linker) copy(from, to string) error {
	src, err := l.src.top.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // it was only read
	dst, err := l.dst.top.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if cloneFile(dst, src) != nil {
		_, err = dst.ReadFrom(src)
	}
	return errors.Join(err, dst.Close())
}

func (l *linker) close() {
	for _, f := range []*folders{&l.src, &l.dst} {
		if f.top != nil {
			_, _ = f.close(), f.top.Close() // nothing was written through them
		}
	}
}
