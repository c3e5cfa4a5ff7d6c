package node

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// A torrent says nothing of modes, times, symlinks and empty folders. Where the
// release's signed manifest is known, a fetch takes them from there.

// undressed makes what is in no torrent, and gives files and symlinks their modes
// and times: all that can be done before the content takes its final name. dir is
// where the content lies.
func (d *download) undressed(dir string) error {
	m := d.manifest()
	if m == nil {
		return nil
	}
	return within(dir, func(root *os.Root) error {
		for _, f := range m.Dirs {
			if err := root.MkdirAll(m.ContentPath(f.Path), 0o755); err != nil {
				return err
			}
		}
		for i := range m.Files {
			f := &m.Files[i]
			if f.Hardlink != "" {
				continue // what its file is given is its own
			}
			name := m.ContentPath(f.Path)
			if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
				return err
			}
			do := dressFile
			if f.Symlink != "" {
				do = dressSymlink
			}
			if err := do(root, name, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// dressed gives the folders their modes and times, which all work in them is to
// have been done before. Their owner may always write: the next version replaces
// them.
func (d *download) dressed() error {
	m := d.manifest()
	if m == nil {
		return nil
	}
	return within(d.fetch.o.Dir, func(root *os.Root) error {
		for _, f := range slices.Backward(m.Dirs) { // what is inside comes behind
			name := m.ContentPath(f.Path)
			info, err := root.Lstat(name)
			if err == nil {
				err = dress(root, name, info, fs.FileMode(f.Mode)&0o777|0o700, f.MTime)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// manifest is what dresses the whole content; nil when there is none, or only some
// of the files were asked for.
func (d *download) manifest() *manifest.Manifest {
	if d.target.proof == nil || d.target.selected != nil {
		return nil
	}
	return d.target.proof.manifest
}

func within(dir string, do func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(do(root), root.Close())
}

func dressFile(root *os.Root, name string, f *manifest.File) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && f.Size == 0 {
		if err := root.WriteFile(name, nil, 0o644); err != nil {
			return err
		}
		info, err = root.Lstat(name)
	}
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return wayError(filepath.Join(root.Name(), name), "it is no file")
	}
	return dress(root, name, info, fs.FileMode(f.Mode)&0o777, f.MTime)
}

// dress gives a file or folder its mode and time where it has others: what is as
// it should be may belong to somebody else, or not be writable.
func dress(root *os.Root, name string, info fs.FileInfo, mode fs.FileMode, seconds int64) (err error) {
	t := time.Unix(seconds, 0)
	if info.Mode().Perm() != mode {
		err = root.Chmod(name, mode)
	}
	if err == nil && !info.ModTime().Equal(t) {
		err = root.Chtimes(name, t, t)
	}
	return err
}

func dressSymlink(root *os.Root, name string, f *manifest.File) error {
	if got, err := root.Readlink(name); err != nil || got != f.Symlink {
		info, err := root.Lstat(name)
		switch {
		case err == nil && info.Mode()&fs.ModeSymlink == 0:
			return wayError(filepath.Join(root.Name(), name), "it is no symlink")
		case err == nil:
			err = root.Remove(name)
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err == nil {
			err = root.Symlink(f.Symlink, name)
		}
		if err != nil {
			return err
		}
	}
	info, err := root.Lstat(name)
	if err != nil || info.ModTime().Equal(time.Unix(f.MTime, 0)) {
		return err
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	t := unix.Timespec{Sec: f.MTime}
	err = unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	return errors.Join(err, dir.Close())
}
