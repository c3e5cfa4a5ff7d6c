package watch

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is heard of a folder and of what lies in it, and of the folder that the
// path itself lies in. Opening and reading is not: a web server that reads the
// tree would wake this process for each request.
const (
	folderMask = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	anchorMask = unix.IN_CREATE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MASK_ADD | unix.IN_ONLYDIR
)

// node is a folder of the tree.
type node struct {
	parent   *node
	name     string
	wd       int32 // of its watch, none when it has none
	children map[string]*node
}

const none int32 = -1

func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	return path.Join(n.parent.path(), n.name)
}

// tree knows what has changed below a path. Its goroutine reads events; all
// others may call its methods.
type tree struct {
	path, marker string
	sys          *system
	poke         func() // tells that there are news

	mu      sync.Mutex
	file    *os.File // of inotify; nil when there is none
	raw     syscall.RawConn
	reading sync.WaitGroup
	buf     []byte

	root   *node  // nil while the path leads to nothing
	folder string // root's own path, without symlinks
	only   string // the file in it that is watched, "" for all of it
	ino    inode  // of what the path leads to
	byWD   map[int32][]*node
	anchor int32 // watch of the folder that the path lies in

	book    rulebook
	marks   map[string]mark
	moved   []movedMarks
	changes changes
	latest  news
	awaited string // a file that is open for writing
	lost    int    // times that events were lost
	heard   int    // events
	problem string // why not all is watched; "" when it is
	guessed bool   // leases were refused
}

type inode struct{ dev, ino uint64 }

// movedMarks are the marks of what has left its place and may appear at another
// one: below the moved path itself.
type movedMarks struct {
	cookie uint32
	marks  map[string]mark
}

// news are things that the loop must look at besides changes.
type news struct {
	root   bool // what the path leads to may have changed
	lost   bool // events were lost, or something was unmounted
	marked bool // the marker was touched
	closed bool // the awaited file was closed, or is gone
	rules  bool // the rules may have changed
}

func newTree(path, marker string, sys *system, poke func()) *tree {
	return &tree{path: path, marker: marker, sys: sys, poke: poke, anchor: none, byWD: map[int32][]*node{}, marks: map[string]mark{}}
}

// news returns what came since the last call.
func (t *tree) news() news {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.latest
	t.latest = news{}
	return n
}

func (t *tree) changedAt() (first, last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changes.first, t.changes.last
}

func (t *tree) there() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.root != nil
}

// filtered is the one place that says what of the tree is not published, and of
// no interest: path is slash-separated and below the root. Of a folder it says
// that of all that is below it.
func (t *tree) filtered(path string, folder bool) bool {
	if t.only != "" {
		return path != t.only || path == t.marker
	}
	return t.marker != "" && path == t.marker || t.book.leavesOut(path, folder)
}

// leaveOut is filtered for who publishes, and knows the rules: the source of a
// single file is that file alone.
func (t *tree) leaveOut(path string) bool { return t.marker != "" && path == t.marker }

// listen opens inotify, if it is not open.
func (t *tree) listen() {
	if t.file != nil {
		return
	}
	fd, err := t.sys.init()
	if err != nil {
		t.problem = initProblem(err)
		return
	}
	t.file = os.NewFile(uintptr(fd), "inotify")
	if t.raw, err = t.file.SyscallConn(); err != nil {
		_ = t.file.Close()
		t.file, t.problem = nil, err.Error()
		return
	}
	t.reading.Go(func() { t.read(t.raw) })
}

// read takes events in until the file is closed.
func (t *tree) read(raw syscall.RawConn) {
	_ = raw.Read(func(fd uintptr) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.take(int(fd))
		return false // until there is more
	})
}

// drain takes in all events that have happened until now.
func (t *tree) drain() {
	if t.file != nil {
		_ = t.raw.Control(func(fd uintptr) { t.take(int(fd)) })
	}
}

func (t *tree) close() {
	t.mu.Lock()
	f := t.file
	t.file = nil
	t.mu.Unlock()
	if f != nil {
		_ = f.Close()
	}
	t.reading.Wait()
}

// take applies the events that are there.
func (t *tree) take(fd int) {
	had, before := !t.changes.first.IsZero(), t.latest
	if t.buf == nil {
		t.buf = make([]byte, 64<<10)
	}
	for {
		n, err := unix.Read(fd, t.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		now := time.Now()
		for rest := t.buf[:n]; ; {
			e, tail, ok := parseEvent(rest)
			if !ok {
				break
			}
			t.apply(e, now)
			rest = tail
		}
	}
	if t.latest != before || !had && !t.changes.first.IsZero() {
		t.poke()
	}
}

// unwatch forgets all of the tree and its watches.
func (t *tree) unwatch() {
	if t.root != nil {
		t.drop(t.root)
		t.root = nil
	}
	t.marks, t.moved = map[string]mark{}, nil
}

// drop forgets a folder and what is below it.
func (t *tree) drop(n *node) {
	for _, c := range n.children {
		t.drop(c)
	}
	t.ignore(n)
	if n.parent != nil && n.parent.children[n.name] == n {
		delete(n.parent.children, n.name)
	}
}

// ignore takes a folder off its watch, which ends with its last folder: two
// paths may lead to one folder, where something is mounted twice.
func (t *tree) ignore(n *node) {
	if n.wd == none {
		return
	}
	wd := n.wd
	n.wd = none
	var rest []*node
	for _, o := range t.byWD[wd] {
		if o != n {
			rest = append(rest, o)
		}
	}
	if len(rest) > 0 {
		t.byWD[wd] = rest
		return
	}
	delete(t.byWD, wd)
	if wd != t.anchor && t.file != nil {
		// It fails when the folder is gone, and the watch with it.
		_ = t.raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// watch has an open folder watched. What comes of it is an error only when it
// was not for the folder itself.
func (t *tree) watch(n *node, dir int) error {
	if t.file == nil {
		return unix.ENOSPC
	}
	wd, err := t.addWatch(procPath(dir), folderMask)
	if err != nil {
		t.ignore(n)
		return err
	}
	if n.wd != wd {
		t.ignore(n)
		n.wd = wd
		t.byWD[wd] = append(t.byWD[wd], n)
	}
	return nil
}

func (t *tree) addWatch(path string, mask uint32) (wd int32, err error) {
	cerr := t.raw.Control(func(fd uintptr) {
		var w int
		w, err = t.sys.add(int(fd), path, mask)
		wd = int32(w)
	})
	return wd, errors.Join(cerr, err)
}

// look follows the path anew, and says whether it leads to something else than
// before.
func (t *tree) look() (changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listen()
	t.watchAnchor()
	real, err := filepath.EvalSymlinks(t.path)
	var st unix.Stat_t
	if err == nil {
		err = unix.Stat(real, &st)
	}
	if err != nil {
		changed = t.root != nil
		t.unwatch()
		return changed, err
	}
	folder, only := real, ""
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		folder, only = filepath.Split(real)
	}
	ino := inode{st.Dev, st.Ino}
	if only != "" { // a file may be replaced where it is
		ino = inode{}
	}
	if t.root != nil && folder == t.folder && only == t.only && ino == t.ino && (t.root.wd != none || t.problem != "") {
		return false, nil
	}
	known := t.folder != ""
	t.unwatch()
	t.folder, t.only, t.ino, t.book.rules = folder, only, ino, nil
	t.root = &node{wd: none}
	t.changes.all = true // who writes to its files is not known
	if known {
		t.changes.add(path.Base(t.path), time.Now())
	}
	return true, nil
}

// watchAnchor watches the folder that the path lies in, for the path to come,
// go and be switched. Where it is missing too, looking now and then must do.
func (t *tree) watchAnchor() {
	if t.file == nil {
		return
	}
	wd, err := t.addWatch(filepath.Dir(t.path), anchorMask)
	if err != nil {
		wd = none
	}
	if t.anchor != none && t.anchor != wd && len(t.byWD[t.anchor]) == 0 {
		_ = t.raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(t.anchor)) })
	}
	t.anchor = wd
}

// openFolder opens a folder of the tree, without following a symlink on the
// way.
func (t *tree) openFolder(rel string) (int, error) {
	fd, err := unix.Open(t.folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil || rel == "." {
		return fd, err
	}
	for _, name := range strings.Split(rel, "/") {
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}
