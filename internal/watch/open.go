package watch

import (
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"
)

// Whether somebody has a file open for writing.
//
// The kernel knows it, and tells it to who asks for a read lease (fcntl(2),
// F_SETLEASE): that is refused with EAGAIN while the file is open for writing
// anywhere, whoever opened it, when and by which name. It may be asked for one's
// own files, and with CAP_LEASE for all. Where it may not, or the file system has
// no leases, the events decide: a file that was made or written to and not closed
// since is open. That does not see who opened a file before the watch began and
// has not written since, nor a second writer of a file that a first one closed,
// nor writes through mmap or by another name.

// mark is what events say of a file that was not closed since.
type mark uint8

const (
	created mark = 1 << iota
	written
)

// openForWriting judges the regular file of that name in an open folder. links
// is how many names it has.
func (t *tree) openForWriting(dir int, name, path string, links uint64) bool {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK): // another program has a write lease
		return true
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELOOP):
		return false
	case err != nil:
		return t.marked(path, links)
	}
	err = t.sys.lease(fd)
	_ = unix.Close(fd)
	switch {
	case err == nil:
		delete(t.marks, path)
		return false
	case errors.Is(err, unix.EAGAIN):
		return true
	}
	t.guessed = true
	return t.marked(path, links)
}

// marked says what the events say.
func (t *tree) marked(path string, links uint64) bool {
	m := t.marks[path]
	if m == created && links > 1 { // a link to a file that was there
		return false
	}
	return m != 0
}

// stillOpen says whether somebody writes to the file of that path. When that
// ends there are news.
func (t *tree) stillOpen(p string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	t.awaited = p
	return t.checkOpen(p)
}

func (t *tree) checkOpen(p string) bool {
	if t.root == nil || t.filtered(p, false) {
		return false
	}
	dir, err := t.openFolder(path.Dir(p))
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(dir) }()
	var st unix.Stat_t
	if unix.Fstatat(dir, path.Base(p), &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	return t.openForWriting(dir, path.Base(p), p, st.Nlink)
}

// confirm says which file of those that have changed since the last scan is open
// for writing; lost says that it cannot be known.
func (t *tree) confirm(ctx context.Context) (open string, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	if t.changes.all || t.problem != "" {
		if t.latest.lost {
			return "", true
		}
		l, err := t.scan(ctx, func(string) bool { return true })
		if err != nil {
			return "", true
		}
		if len(l.open) > 0 {
			return l.open[0], false
		}
		return "", false
	}
	for p := range t.changes.paths {
		if t.checkOpen(p) {
			return p, false
		}
	}
	return "", false
}
