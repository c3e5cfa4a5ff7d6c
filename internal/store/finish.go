package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// finishFile gives a file or symlink its mode, time and owner, and syncs a file if
// each file is synced by itself.
func (c *content) finishFile(f *manifest.File, sync bool) error {
	name := c.m.ContentPath(f.Path)
	st, err := c.root.Lstat(name)
	if err != nil {
		return explain("look at", c.abs(name), err)
	}
	mode := fs.FileMode(f.Mode)
	right := sameTime(st.ModTime(), f.MTime) && (f.Symlink != "" || st.Mode().Perm() == mode) && c.owner.hasFile(st)
	switch {
	case f.Symlink != "" && right:
		return nil
	case f.Symlink != "":
		return c.finishSymlink(name, f)
	case right && !sync:
		return nil
	case right && nlink(st) > 1:
		return c.do(op{kind: "sync", path: name}, func() error { return withFile(c.root, name, st, (*os.File).Sync) })
	case !right && nlink(st) > 1:
		// The file is shared with another release, whose mode, time and owner
		// these are.
		if err := c.unshare(name); err != nil {
			return err
		}
	}
	kind := "sync"
	if !sync {
		kind = "set mode and time of"
	}
	return c.do(op{kind: kind, path: name}, func() error {
		return withFile(c.root, name, st, func(h *os.File) error {
			return c.settle(h, name, mode, f.MTime, sync)
		})
	})
}

func (d *disk) finishSymlink(name string, f *manifest.File) error {
	if err := d.chown(name); err != nil {
		return err
	}
	return d.do(op{kind: "set time of", path: name}, func() error { return symlinkTime(d.root, name, f.MTime) })
}

// withFile opens a file or folder, also when its mode forbids that to a user
// who owns it.
func withFile(root *os.Root, name string, st fs.FileInfo, fn func(*os.File) error) error {
	h, err := root.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		if err := root.Chmod(name, st.Mode().Perm()|0o400); err != nil {
			return err
		}
		h, err = root.Open(name)
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(h), h.Close())
}

// unshare replaces a file that has several names by a copy of its own.
func (c *content) unshare(name string) error {
	tmp := path.Join(path.Dir(name), tempName("unshare"))
	if err := c.copyFile(name, tmp); err != nil {
		_ = c.remove(tmp)
		return err
	}
	return c.rename(tmp, name)
}

// copyFile copies a file with its mode and time, for the owner of releases, sharing the data where the
// file system can (reflink), and syncs it.
func (d *disk) copyFile(from, to string) error {
	return d.do(op{kind: "copy", path: from, to: to}, func() error {
		src, err := d.root.Open(from)
		if err != nil {
			return err
		}
		defer func() { _ = src.Close() }()
		st, err := src.Stat()
		if err != nil {
			return err
		}
		dst, err := d.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
			_, err = dst.ReadFrom(src)
		}
		if err == nil {
			err = d.settle(dst, to, st.Mode().Perm(), st.ModTime().Unix(), true)
		}
		return errors.Join(err, dst.Close())
	})
}

// finishDir gives a folder its mode and time and syncs it.
func (c *content) finishDir(d manifest.Dir, sync bool) error {
	st, err := c.root.Lstat(d.Path)
	if err != nil {
		return explain("look at", c.abs(d.Path), err)
	}
	kind := "sync folder"
	if !sync {
		kind = "set mode and time of"
	}
	return c.do(op{kind: kind, path: d.Path}, func() error {
		return withFile(c.root, d.Path, st, func(h *os.File) error {
			return c.settle(h, d.Path, fs.FileMode(d.Mode), d.MTime, sync)
		})
	})
}

// settle gives the open file or folder, whose path is name, its mode, time and
// owner.
func (d *disk) settle(h *os.File, name string, mode fs.FileMode, mtime int64, sync bool) error {
	if err := h.Chmod(mode); err != nil {
		return err
	}
	t := time.Unix(mtime, 0)
	if err := d.root.Chtimes(name, t, t); err != nil {
		return err
	}
	// Last, as it may take away the right to do the others.
	if d.owner != NoOwner {
		if err := h.Chown(d.owner.UID, d.owner.GID); err != nil {
			return err
		}
	}
	if !sync {
		return nil
	}
	return h.Sync()
}

// symlinkTime sets the modification time of a symlink itself.
func symlinkTime(root *os.Root, name string, seconds int64) error {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	ts := unix.Timespec{Sec: seconds}
	err = unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	return errors.Join(err, dir.Close())
}

// syncFS syncs the file system that the folder is on.
func syncFS(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// sortedDirs sorts folders so that parents come before what is in them.
func sortedDirs(dirs map[string]manifest.Dir) []manifest.Dir {
	out := make([]manifest.Dir, 0, len(dirs))
	for _, d := range dirs {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b manifest.Dir) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func nlink(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Nlink) //nolint:unconvert // its width differs between platforms
	}
	return 1
}

// identOf recognises the file later.
func identOf(st fs.FileInfo) *fileIdent {
	id := &fileIdent{Size: st.Size(), MTime: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		id.Inode = sys.Ino
	}
	return id
}
