package publish

import (
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

// close closes the folder that is open, not the top one.
func (f *folders) close() error {
	if f.dir == nil {
		return nil
	}
	err := f.dir.Close()
	f.dir = nil
	return err
}
