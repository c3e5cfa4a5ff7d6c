package publish

import (
	"errors"
	"os"
	"path"
)

// folders opens the folders that files lie in, and keeps the last one open:
// files come folder by folder, and to walk down from the top for each one
// costs more than the file itself when there are many small ones.
type folders struct {
	top  *os.Root
	dir  *os.Root // of path; nil before the first one
	path string
	fd   *os.File // the folder fdOf itself, once it was asked for
	fdOf *os.Root
}

// open returns the folder of the slash-separated path and the path's last
// element. The folder is valid until the next call.
func (f *folders) open(name string) (dir *os.Root, base string, err error) {
	parent, base := path.Dir(name), path.Base(name)
	if parent == "." {
		return f.top, base, nil
	}
	if f.dir != nil && f.path == parent {
		return f.dir, base, nil
	}
	if err := f.close(); err != nil {
		return nil, "", err
	}
	if f.dir, err = f.top.OpenRoot(parent); err != nil {
		f.dir = nil
		return nil, "", err
	}
	f.path = parent
	return f.dir, base, nil
}

// openFile is open with the folder as a file, for calls that want a descriptor.
func (f *folders) openFile(name string) (dir *os.File, base string, err error) {
	root, base, err := f.open(name)
	if err != nil || f.fd != nil && f.fdOf == root {
		return f.fd, base, err
	}
	if err := f.closeFile(); err != nil {
		return nil, "", err
	}
	if f.fd, err = root.Open("."); err != nil {
		f.fd = nil
		return nil, "", err
	}
	f.fdOf = root
	return f.fd, base, nil
}

func (f *folders) closeFile() error {
	if f.fd == nil {
		return nil
	}
	err := f.fd.Close()
	f.fd, f.fdOf = nil, nil
	return err
}

// close closes the folder that is open, not the top one.
func (f *folders) close() error {
	err := f.closeFile()
	if f.dir == nil {
		return err
	}
	err = errors.Join(err, f.dir.Close())
	f.dir = nil
	return err
}
