package pieces

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// preallocMin is the length from which on a file's space is taken at once, so
// that it lies together and a disk that is too small shows early.
const preallocMin = 1 << 20

// openIn opens a file in a root. The runtime finds out by four system calls
// that it cannot wait for a file, unless it is opened not to be waited for, which
// is all the same to a file.
func openIn(root *os.Root, name string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := root.OpenFile(name, flag|unix.O_NONBLOCK, perm)
	if errors.Is(err, unix.EAGAIN) { // somebody has a lease on it, and is to be waited for
		return root.OpenFile(name, flag, perm)
	}
	return f, err
}

// resize cuts a file that is longer than want bytes, and takes the space for a
// long one that is shorter, where the file system can; others grow as they are
// written. On a full disk nothing is taken.
func resize(f *os.File, want int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	switch {
	case size > want:
		return f.Truncate(want)
	case size == want || want < preallocMin:
		return nil
	}
	if err := room(f, want-size); err != nil {
		return err
	}
	err = retry(func() error { return unix.Fallocate(int(f.Fd()), 0, size, want-size) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return nil
	}
	// Some of the space may be taken: leave it to others.
	_ = f.Truncate(size)
	return &os.PathError{Op: "take the space of", Path: f.Name(), Err: err}
}

// room refuses what the file system of f has no space for.
func room(f *os.File, n int64) error {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; st.Blocks > 0 && free < n {
		return &os.PathError{Op: fmt.Sprintf("take %d bytes, of which %d are free, for", n, free), Path: f.Name(), Err: syscall.ENOSPC}
	}
	return nil
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// nextData returns the stretch of data at or behind off in f, or io.EOF when
// only holes follow. A file system that cannot tell reports everything as data.
func nextData(f *os.File, off, size int64) (from, to int64, err error) {
	from, err = f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return off, size, nil
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	if err != nil || to <= from {
		return from, size, nil
	}
	return from, to, nil
}

// syncFS writes out everything on the file system that dir lies on. It reports
// errors of writes since dir was opened.
func syncFS(dir *os.File) error {
	return retry(func() error { return unix.Syncfs(int(dir.Fd())) })
}

// stamp is a number that changes when a file does.
func stampOf(info fs.FileInfo) []int64 {
	s := []int64{info.Size(), info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s = append(s, int64(st.Ino), st.Ctim.Nano())
	}
	return s
}

// links is the number of a file's names.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // its width differs between platforms
	}
	return 1
}
