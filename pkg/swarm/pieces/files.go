package pieces

import (
	"container/list"
	"os"
	"path/filepath"
	"sync"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
)

// fileTable opens the release's files and holds a bounded number of them open,
// those used last, and as many of their folders. What is in use is never closed.
type fileTable struct {
	layout   *layout.Layout
	readOnly bool
	shared   bool // files with several names are not to be written to
	limit    int

	// prepare is held while a file is made or given its size.
	prepare sync.Mutex
	made    map[string]struct{} // folders known to be folders
	fresh   map[string]struct{} // folders with entries that are not synced
	known   *bitmap.Bitmap      // files that were there for writing before

	mu     sync.Mutex
	dir    string
	root   *os.Root // nil until needed
	folder *os.File // the root as a folder, opened with it
	open   map[int]*openFile
	recent *list.List // of *openFile, used last in front
	inUse  int        // references in all, also to replaced files
	closed bool

	folders       map[string]*folder
	recentFolders *list.List // of *folder, used last in front
}

// openFile is an open file with the number of its users.
type openFile struct {
	*os.File
	index    int
	writable bool
	refs     int
	place    *list.Element // nil when it is no longer in the table
}

func newFileTable(dir string, l *layout.Layout, readOnly bool, limit int) *fileTable {
	if limit <= 0 {
		limit = DefaultOpenFiles
	}
	return &fileTable{
		layout: l, readOnly: readOnly, limit: limit, dir: dir,
		made: map[string]struct{}{}, fresh: map[string]struct{}{},
		known: bitmap.New(len(l.Files)),
		open:  map[int]*openFile{}, recent: list.New(),
		folders: map[string]*folder{}, recentFolders: list.New(),
	}
}

// acquire returns file i, open for writing too when write is set; it is then
// made when missing. The caller must release it.
func (t *fileTable) acquire(i int, write bool) (*openFile, error) {
	if f, err := t.cached(i, write); f != nil || err != nil {
		return f, err
	}
	root, err := t.useRoot()
	if err != nil {
		return nil, err
	}
	defer t.unuseRoot()
	var f *os.File
	if write {
		f, err = t.create(root, i)
	} else {
		err = t.inFolder(root, i, func(dir *os.Root, name string) error {
			f, err = openRegular(dir, name, os.O_RDONLY)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return t.insert(i, f, write)
}

func (t *fileTable) name(i int) string { return filepath.FromSlash(t.layout.Files[i].Path) }

func (t *fileTable) cached(i int, write bool) (*openFile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	f := t.open[i]
	if f == nil || write && !f.writable {
		return nil, nil
	}
	t.use(f)
	return f, nil
}

func (t *fileTable) use(f *openFile) {
	f.refs++
	t.inUse++
	t.recent.MoveToFront(f.place)
}

// insert puts a file that was just opened into the table, unless another
// goroutine was faster, in whose place of only reading it may come.
func (t *fileTable) insert(i int, file *os.File, write bool) (*openFile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = file.Close()
		return nil, ErrClosed
	}
	if old := t.open[i]; old != nil {
		if old.writable || !write {
			_ = file.Close()
			t.use(old)
			return old, nil
		}
		t.forget(old)
	}
	f := &openFile{File: file, index: i, writable: write}
	f.place = t.recent.PushFront(f)
	t.open[i] = f
	t.use(f)
	t.evict(t.limit)
	return f, nil
}

// forget takes f out of the table and closes it, now or at its release.
func (t *fileTable) forget(f *openFile) {
	t.recent.Remove(f.place)
	f.place = nil
	delete(t.open, f.index)
	if f.refs == 0 {
		_ = f.Close()
	}
}

// evict closes files that are not in use, the longest unused first, until at
// most limit are open.
func (t *fileTable) evict(limit int) {
	for e := t.recent.Back(); e != nil && len(t.open) > limit; {
		f := e.Value.(*openFile)
		e = e.Prev()
		if f.refs == 0 {
			t.forget(f)
		}
	}
}

func (t *fileTable) release(f *openFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.refs--
	t.inUse--
	if f.refs == 0 && f.place == nil {
		_ = f.Close()
	}
	t.evict(t.limit)
	t.dropRoot()
}

// full says that so many files are in use that no more should be held on to.
func (t *fileTable) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUse >= t.limit
}

// useRoot returns the content root, opened when needed, until unuseRoot.
func (t *fileTable) useRoot() (*os.Root, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if t.root == nil {
		root, err := os.OpenRoot(t.dir)
		if err != nil {
			return nil, err
		}
		// A sync of the file system through it reports all failures to write from
		// here on.
		folder, err := root.Open(".")
		if err != nil {
			_ = root.Close()
			return nil, err
		}
		t.root, t.folder = root, folder
	}
	t.inUse++
	return t.root, nil
}

func (t *fileTable) unuseRoot() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inUse--
	t.dropRoot()
}

// dropRoot closes the root of a table that is closed, when nobody uses it.
func (t *fileTable) dropRoot() {
	if t.closed {
		t.closeRoot()
	}
}

// closeRoot closes the root unless it is in use.
func (t *fileTable) closeRoot() {
	if t.inUse > 0 || t.root == nil {
		return
	}
	_ = t.folder.Close()
	_ = t.root.Close()
	t.root, t.folder = nil, nil
}

func (t *fileTable) setDir(dir string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The open root goes with its folder; only one opened later needs the path.
	t.dir = dir
}

func (t *fileTable) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.evict(0)
	t.evictFolders(0)
	t.closeRoot()
}

// reopen forgets the open files; those in use are closed at their release.
func (t *fileTable) reopen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.recent.Front(); e != nil; {
		f := e.Value.(*openFile)
		e = e.Next()
		t.forget(f)
	}
	t.forgetFolders()
	t.closeRoot()
}

func (t *fileTable) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.limit = true, 0
	t.evict(0)
	t.evictFolders(0)
	t.dropRoot()
	return nil
}

// path is where the content root is.
func (t *fileTable) path() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dir
}
