package pieces

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// folder is a folder of the release that is held open, so that a file in it is
// found without a walk there from the content root.
type folder struct {
	*os.Root
	dir   string // as in the layout
	refs  int
	place *list.Element // nil when it is no longer in the table
}

// inFolder calls fn with the folder of file i and the file's name there. It calls
// it again when there is no such file in a folder that was held open: the folder
// may have been removed and made again since. The caller uses the root.
func (t *fileTable) inFolder(root *os.Root, i int, fn func(dir *os.Root, name string) error) error {
	dir, name := path.Split(t.layout.Files[i].Path)
	if dir = path.Clean(dir); dir == "." {
		return inFull(root, fn(root, name))
	}
	for {
		f, held, err := t.useFolder(root, dir)
		if err != nil {
			return err
		}
		err = fn(f.Root, name)
		again := held && errors.Is(err, fs.ErrNotExist)
		t.unuseFolder(f, again)
		if !again {
			return inFull(f.Root, err)
		}
	}
}

// inFull has an error name a file by the whole of its path and not as in the folder.
func inFull(dir *os.Root, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && !filepath.IsAbs(p.Path) {
		p.Path = filepath.Join(dir.Name(), p.Path)
	}
	return err
}

// useFolder returns a folder until unuseFolder, and whether it was held open.
func (t *fileTable) useFolder(root *os.Root, dir string) (f *folder, held bool, err error) {
	if f, err := t.heldFolder(dir); f != nil || err != nil {
		return f, true, err
	}
	r, err := root.OpenRoot(filepath.FromSlash(dir))
	if err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = r.Close()
		return nil, false, ErrClosed
	}
	if old := t.folders[dir]; old != nil { // another goroutine was faster
		t.forgetFolder(old)
	}
	f = &folder{Root: r, dir: dir, refs: 1}
	f.place = t.recentFolders.PushFront(f)
	t.folders[dir] = f
	t.evictFolders(t.limit)
	return f, false, nil
}

func (t *fileTable) heldFolder(dir string) (*folder, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	f := t.folders[dir]
	if f != nil {
		f.refs++
		t.recentFolders.MoveToFront(f.place)
	}
	return f, nil
}

// unuseFolder releases a folder; it is not held open any longer when it is stale.
func (t *fileTable) unuseFolder(f *folder, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.refs--
	switch {
	case f.place == nil && f.refs == 0:
		_ = f.Close()
	case f.place != nil && stale:
		t.forgetFolder(f)
	}
	t.evictFolders(t.limit)
}

// forgetFolder takes f out of the table and closes it, now or at its release.
func (t *fileTable) forgetFolder(f *folder) {
	t.recentFolders.Remove(f.place)
	f.place = nil
	delete(t.folders, f.dir)
	if f.refs == 0 {
		_ = f.Close()
	}
}

// evictFolders closes folders that are not in use, the longest unused first, until
// at most limit are open.
func (t *fileTable) evictFolders(limit int) {
	for e := t.recentFolders.Back(); e != nil && len(t.folders) > limit; {
		f := e.Value.(*folder)
		e = e.Prev()
		if f.refs == 0 {
			t.forgetFolder(f)
		}
	}
}

// forgetFolders has folders opened anew from here on.
func (t *fileTable) forgetFolders() {
	for e := t.recentFolders.Front(); e != nil; {
		f := e.Value.(*folder)
		e = e.Next()
		t.forgetFolder(f)
	}
}
