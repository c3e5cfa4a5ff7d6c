package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// op is one change of the disk, or one barrier.
type op struct {
	kind string // "mkdir", "write", "rename", "sync folder", "transaction", ...
	path string // below the store's folder
	to   string // the new path of a rename or link, the target of a symlink
}

// disk makes every change of the disk that the store makes, so that all of
// them go through one os.Root, carry the same messages, and can be refused one
// by one in tests.
type disk struct {
	root *os.Root
	dir  string // absolute path of root
	at   string // path of root below the store's folder, "" or with a slash behind
	step func(op) error
	// owner is whom the content of releases is given to.
	owner Owner
}

func (d *disk) do(o op, fn func() error) error {
	o.path = d.at + o.path
	if d.step != nil {
		if err := d.step(o); err != nil {
			return explain(o.kind, o.path, err)
		}
	}
	return explain(o.kind, filepath.Join(d.dir, filepath.FromSlash(o.path[len(d.at):])), fn())
}

// mkdir makes a folder with exactly this mode, whatever the umask is.
func (d *disk) mkdir(name string, mode fs.FileMode) error {
	return d.do(op{kind: "make folder", path: name}, func() error {
		if err := d.root.Mkdir(name, mode); err != nil {
			return err
		}
		return d.root.Chmod(name, mode)
	})
}

// write makes a file with the data and syncs it. It is not atomic: it is for
// files that get their name by a rename.
func (d *disk) write(name string, data []byte, mode fs.FileMode) error {
	return d.do(op{kind: "write", path: name}, func() error {
		f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	})
}

// replace writes a file in one step: readers and a crash see the old or the
// new one. The folder is synced.
func (d *disk) replace(name string, data []byte, mode fs.FileMode) error {
	tmp := tmpDir + "/" + tempName(path.Base(name))
	err := d.write(tmp, data, mode)
	if err == nil {
		err = d.rename(tmp, name)
	}
	if err != nil {
		_ = d.remove(tmp)
		return err
	}
	return d.syncDir(path.Dir(name))
}

func (d *disk) rename(from, to string) error {
	return d.do(op{kind: "rename", path: from, to: to}, func() error { return d.root.Rename(from, to) })
}

func (d *disk) symlink(target, name string) error {
	return d.do(op{kind: "make symlink", path: name, to: target}, func() error { return d.root.Symlink(target, name) })
}

func (d *disk) link(from, to string) error {
	return d.do(op{kind: "make link", path: to, to: from}, func() error { return d.root.Link(from, to) })
}

// remove removes a file or empty folder; that it is missing is no error.
func (d *disk) remove(name string) error {
	return d.do(op{kind: "remove", path: name}, func() error {
		if err := d.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

func (d *disk) chmod(name string, mode fs.FileMode) error {
	return d.do(op{kind: "change mode of", path: name}, func() error { return d.root.Chmod(name, mode) })
}

// syncDir makes the entries of a folder durable.
func (d *disk) syncDir(name string) error {
	return d.do(op{kind: "sync folder", path: name}, func() error {
		f, err := d.root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// purge deletes a file or a folder with all that is in it, also when folders
// in it are not writable.
func (d *disk) purge(name string) error {
	return d.do(op{kind: "delete", path: name}, func() error {
		err := d.root.RemoveAll(name)
		if !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if err := openUp(d.root, name); err != nil {
			return err
		}
		return d.root.RemoveAll(name)
	})
}

// openUp makes all folders below name writable for their owner.
func openUp(root *os.Root, name string) error {
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	entries, err := readDir(root, name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := openUp(root, name+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir lists a folder.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}

// removeIfThere removes a file that is usually missing.
func (d *disk) removeIfThere(name string) error {
	if _, err := d.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.remove(name)
}
