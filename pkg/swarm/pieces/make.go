package pieces

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// openRegular opens a file that must be one: neither a symlink, through which
// bytes would go elsewhere, nor a pipe, on which opening would wait.
func openRegular(root *os.Root, name string, flag int) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file but %s; remove it", filepath.Join(root.Name(), name), info.Mode().Type())
	}
	f, err := openIn(root, name, flag, 0)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = fmt.Errorf("%s was replaced while it was opened", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// create opens file i for writing, makes it and its folders when missing, and
// gives it its size.
func (t *fileTable) create(root *os.Root, i int) (f *os.File, err error) {
	t.prepare.Lock()
	defer t.prepare.Unlock()
	if err := t.makeDir(root, path.Dir(t.layout.Files[i].Path)); err != nil {
		return nil, err
	}
	err = t.inFolder(root, i, func(dir *os.Root, name string) error {
		f, err = t.createIn(dir, name, i)
		return err
	})
	return f, err
}

// createIn opens the file i, called name in the folder, or makes it. Which of them
// is tried first is a guess that saves a look at a file that is not there.
func (t *fileTable) createIn(dir *os.Root, name string, i int) (*os.File, error) {
	if !t.known.Has(i) {
		f, err := t.makeFile(dir, name, i)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	f, err := t.openOwn(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return t.makeFile(dir, name, i)
	}
	return t.sized(f, err, i)
}

// makeFile makes file i, called name in the folder; what is there is an error.
func (t *fileTable) makeFile(dir *os.Root, name string, i int) (*os.File, error) {
	f, err := openIn(dir, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	t.fresh[path.Dir(t.layout.Files[i].Path)] = struct{}{}
	if t.layout.Files[i].Length < preallocMin {
		t.known.Set(i)
		return f, nil
	}
	return t.sized(f, nil, i)
}

// sized gives a file that was opened its size.
func (t *fileTable) sized(f *os.File, err error, i int) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := resize(f, t.layout.Files[i].Length); err != nil {
		_ = f.Close()
		return nil, err
	}
	t.known.Set(i)
	return f, nil
}

// makeDir makes the folder dir, a slash-separated path, and those above it.
// What is in its way, also a symlink, is refused.
func (t *fileTable) makeDir(root *os.Root, dir string) error {
	if _, ok := t.made[dir]; ok || dir == "." {
		return nil
	}
	parent := path.Dir(dir)
	if err := t.makeDir(root, parent); err != nil {
		return err
	}
	name := filepath.FromSlash(dir)
	err := root.Mkdir(name, dirMode)
	if err == nil {
		t.fresh[parent] = struct{}{}
		t.fresh[dir] = struct{}{}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := checkDir(root, name); err != nil {
		return err
	}
	t.made[dir] = struct{}{}
	return nil
}

func checkDir(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder but %s; remove it", filepath.Join(root.Name(), name), strings.TrimSpace("a file "+info.Mode().Type().String()))
	}
	return nil
}

// takeFresh returns the folders with entries that are not synced yet.
func (t *fileTable) takeFresh() map[string]struct{} {
	t.prepare.Lock()
	defer t.prepare.Unlock()
	fresh := t.fresh
	t.fresh = map[string]struct{}{}
	return fresh
}

func (t *fileTable) putFresh(dirs map[string]struct{}) {
	t.prepare.Lock()
	defer t.prepare.Unlock()
	for d := range dirs {
		t.fresh[d] = struct{}{}
	}
}
