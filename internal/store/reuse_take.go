package store

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// errChanged says that a file is not the one that was verified.
var errChanged = errors.New("it was changed")

// errTaken says that a file cannot be linked, as another one of the release was.
var errTaken = errors.New("another file of the release is linked to it")

// take makes the wanted file from one of an earlier release.
func (u *reuser) take(h *hands, from string, f *manifest.File, w *wanted, how ReuseMethod) error {
	old, err := h.src.open(path.Dir(from), false)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	name := path.Base(from)
	if err := unix.Fstatat(int(old.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != f.Size || u.whole == nil && (st.Mtim.Sec != f.MTime || st.Mtim.Nsec != 0) {
		return errChanged
	}
	to := u.to.Manifest.ContentPath(w.Path)
	if _, err := h.dst.open(path.Dir(to), true); err != nil {
		return err
	}
	if u.whole != nil {
		return u.move(old, name, h.dst, path.Base(to))
	}
	err = fs.ErrInvalid
	if how == ReuseLink && w.like(f) && u.linkable(w, &st) {
		if !u.claim(st.Ino) {
			return errTaken
		}
		if err = u.link(old, name, h.dst, path.Base(to), &st); err == nil {
			u.linked[w.place] = st.Ino
			return nil
		}
		u.disclaim(st.Ino)
	}
	if errors.Is(err, errChanged) || errors.Is(err, unix.EEXIST) || u.all {
		return err
	}
	return u.copy(old, name, h, path.Base(to), &st)
}

// linkable says whether a file that has what is wanted may get a second name. One
// whose mode keeps its owner from reading it could not be served without a change
// of that mode.
func (u *reuser) linkable(w *wanted, st *unix.Stat_t) bool {
	return u.s.fs.owner.has(st.Uid, st.Gid) && st.Mode&0o777 == w.Mode && w.Mode&0o400 != 0 && !u.s.noHardLinks
}

// claim takes an inode for one file of the release, and says whether it was free:
// no two are to be the same file that are not by the manifest.
func (u *reuser) claim(ino uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.taken[ino] {
		return false
	}
	u.taken[ino] = true
	return true
}

func (u *reuser) disclaim(ino uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.taken, ino)
}

// move takes a file out of an unfinished release.
func (u *reuser) move(old *os.File, from string, dst *folder, to string) error {
	if u.s.step != nil {
		if err := u.s.step(op{kind: "move", path: dst.base + "/" + to, to: from}); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	dir := int(dst.file.Fd())
	if err := unix.Fstatat(dir, to, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return cmp.Or(err, error(unix.EEXIST))
	}
	return unix.Renameat(int(old.Fd()), from, dir, to)
}

// link gives the file a second name. Who had it there before, and it is the same
// file, is content too.
func (u *reuser) link(old *os.File, from string, dst *folder, to string, want *unix.Stat_t) error {
	o := op{kind: "make link", path: path.Join(ownDir, dst.base, dst.path, to), to: from}
	if u.s.step != nil {
		if err := u.s.step(o); err != nil {
			return err
		}
	}
	dir := int(dst.file.Fd())
	err := unix.Linkat(int(old.Fd()), from, dir, to, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(dir, to, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil {
		return serr
	}
	if st.Ino == want.Ino && st.Dev == want.Dev && st.Size == want.Size && st.Mtim == want.Mtim {
		return nil
	}
	if err == nil {
		_ = unix.Unlinkat(dir, to, 0)
		err = errChanged
	}
	return err
}

// copy makes a file of its own, which shares the old one's blocks where the
// file system can. It has another name until it is whole.
func (u *reuser) copy(old *os.File, from string, h *hands, to string, want *unix.Stat_t) error {
	o := op{kind: "copy", path: h.dst.base + "/" + to, to: from}
	if u.s.step != nil {
		if err := u.s.step(o); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	dir := int(h.dst.file.Fd())
	if err := unix.Fstatat(dir, to, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return cmp.Or(err, error(unix.EEXIST))
	}
	fd, err := unix.Openat(int(old.Fd()), from, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(fd), from)
	defer func() { _ = src.Close() }()
	work, err := h.tmp.open(path.Base(tmpDir), false)
	if err != nil {
		return err
	}
	tmp := tempName("reuse")
	dst, err := u.s.root.OpenFile(tmpDir+"/"+tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = u.fill(dst, src, want)
	if err = errors.Join(err, dst.Close()); err == nil {
		err = unix.Renameat(int(work.Fd()), tmp, dir, to)
	}
	if err != nil {
		_ = u.s.root.Remove(tmpDir + "/" + tmp)
	}
	return err
}

func (u *reuser) fill(dst, src *os.File, want *unix.Stat_t) error {
	if u.how == ReuseCopy || unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		if _, err := dst.ReadFrom(src); err != nil {
			return err
		}
	}
	var now unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &now); err != nil {
		return err
	}
	if st, err := dst.Stat(); err != nil || st.Size() != want.Size || now.Ino != want.Ino || now.Mtim != want.Mtim || now.Size != want.Size {
		return errors.Join(errChanged, err)
	}
	return nil
}
