package store

import (
	"os"
	"path"
	"syscall"
)

// folder keeps the folder open that was used last: files come sorted, so that
// most of them lie where the one before them does.
type folder struct {
	root *os.Root
	base string
	path string
	file *os.File
}

// open opens a folder below base, and makes it when it is missing and to be made.
func (f *folder) open(p string, create bool) (*os.File, error) {
	if f.file != nil && f.path == p {
		return f.file, nil
	}
	f.close()
	name := path.Join(f.base, p)
	if create {
		if err := f.root.MkdirAll(name, 0o755); err != nil {
			return nil, err
		}
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f.path, f.file = p, file
	return file, nil
}

func (f *folder) close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}
