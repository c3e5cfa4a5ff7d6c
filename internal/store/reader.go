package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"distd/internal/layout"
)

// Reader reads files of content, by their indexes in its layout. It keeps the
// file open that was read last, and is for one goroutine.
type Reader struct {
	root  *os.Root
	lay   *layout.Layout
	index int
	file  *os.File
}

// NewReader returns a reader of the content below dir.
func NewReader(dir string, lay *layout.Layout) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, explain("open folder", dir, err)
	}
	return &Reader{root: root, lay: lay}, nil
}

// Read fills p with the bytes at offset off of a file.
func (r *Reader) Read(file int, p []byte, off int64) error {
	if r.file == nil || r.index != file {
		r.closeFile()
		name := filepath.FromSlash(r.lay.Files[file].Path)
		if st, err := r.root.Lstat(name); err != nil || !st.Mode().IsRegular() {
			return errors.Join(fmt.Errorf("%s is not a file", filepath.Join(r.root.Name(), name)), err)
		}
		f, err := r.root.Open(name)
		if err != nil {
			return err
		}
		r.index, r.file = file, f
	}
	n, err := r.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s is shorter than it was: %w", r.file.Name(), io.ErrUnexpectedEOF)
	}
	return err
}

func (r *Reader) closeFile() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

// Close closes what is open.
func (r *Reader) Close() error {
	r.closeFile()
	return r.root.Close()
}
