package store

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"distd/internal/layout"
)

// Builder makes files of a staged release whole: each is written under another
// name and comes into its place, by a rename, when it is kept. It is for one
// goroutine.
type Builder struct {
	s   *Store
	lay *layout.Layout
	own *os.Root
	dst *folder
	tmp *folder
}

// NewBuilder returns a builder for a staged release with that layout.
func (s *Store) NewBuilder(r *Release, lay *layout.Layout) (*Builder, error) {
	if r.Complete {
		return nil, fmt.Errorf("build files of release %s: it is complete", r.ID)
	}
	own, err := s.root.OpenRoot(ownDir)
	if err != nil {
		return nil, explain("open folder", s.abs(ownDir), err)
	}
	return &Builder{s: s, lay: lay, own: own, dst: &folder{root: own, base: r.below()}, tmp: &folder{root: own}}, nil
}

// Close closes what is open.
func (b *Builder) Close() error {
	b.dst.close()
	b.tmp.close()
	return b.own.Close()
}

// BuiltFile is a file that is being made. Keep or Drop ends it.
type BuiltFile struct {
	*os.File
	b    *Builder
	name string // below tmpDir
	path string // below the content root
}

// Begin begins a file, by its index in the layout.
func (b *Builder) Begin(file int) (*BuiltFile, error) {
	f := &BuiltFile{b: b, name: tempName("build"), path: b.lay.Files[file].Path}
	var err error
	f.File, err = b.s.root.OpenFile(tmpDir+"/"+f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, explain("make", f.path, err)
	}
	return f, nil
}

// Write writes the next bytes.
func (f *BuiltFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, explain("write", f.path, err)
}

// Keep puts the file into its place, also where an unfinished one is.
func (f *BuiltFile) Keep() error {
	err := f.Close()
	var work, dir *os.File
	if err == nil {
		work, err = f.b.tmp.open(path.Base(tmpDir), false)
	}
	if err == nil {
		dir, err = f.b.dst.open(path.Dir(f.path), true)
	}
	if err == nil {
		err = unix.Renameat(int(work.Fd()), f.name, int(dir.Fd()), path.Base(f.path))
	}
	if err != nil {
		err = errors.Join(err, f.b.s.root.Remove(tmpDir+"/"+f.name))
	}
	return explain("put into place", f.path, err)
}

// Drop removes what was written.
func (f *BuiltFile) Drop() {
	_ = f.Close()
	_ = f.b.s.root.Remove(tmpDir + "/" + f.name)
}
