package watch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// event is one event of inotify(7).
type event struct {
	wd     int32
	mask   uint32
	cookie uint32 // joins the two halves of a move
	name   string // in the folder; "" for the folder itself
}

// maxMoved is how many moves may be half done; the second half follows at once.
const maxMoved = 64

func parseEvent(b []byte) (e event, rest []byte, ok bool) {
	if len(b) < unix.SizeofInotifyEvent {
		return e, nil, false
	}
	e.wd = int32(binary.NativeEndian.Uint32(b))
	e.mask = binary.NativeEndian.Uint32(b[4:])
	e.cookie = binary.NativeEndian.Uint32(b[8:])
	end := unix.SizeofInotifyEvent + uint64(binary.NativeEndian.Uint32(b[12:]))
	if end > uint64(len(b)) {
		return e, nil, false
	}
	name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
	e.name = string(name)
	return e, b[end:], true
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// apply takes one event in.
func (t *tree) apply(e event, now time.Time) {
	t.heard++
	switch {
	case e.mask&unix.IN_Q_OVERFLOW != 0:
		t.lost++
		t.latest.lost, t.changes.all = true, true
		return
	case e.mask&unix.IN_IGNORED != 0:
		for _, n := range t.byWD[e.wd] {
			n.wd = none
			t.latest.root = t.latest.root || n == t.root
		}
		delete(t.byWD, e.wd)
		if e.wd == t.anchor {
			t.anchor, t.latest.root = none, true
		}
		return
	}
	if e.wd == t.anchor && e.name == path.Base(t.path) && e.mask&(unix.IN_CREATE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_DELETE) != 0 {
		t.latest.root = true
	}
	for _, n := range t.byWD[e.wd] {
		if e.name == "" {
			t.applySelf(n, e, now)
		} else {
			t.applyChild(n, e, now)
		}
	}
}

// applySelf takes in what happened to a folder itself. The folder above tells
// of most of it too.
func (t *tree) applySelf(n *node, e event, now time.Time) {
	if e.mask&unix.IN_UNMOUNT != 0 {
		t.latest.lost, t.changes.all = true, true
	}
	if n != t.root {
		return
	}
	if e.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
		t.latest.root = true
	}
	if e.mask&unix.IN_ATTRIB != 0 && t.only == "" {
		t.changes.add(".", now)
	}
}

func (t *tree) applyChild(n *node, e event, now time.Time) {
	p := path.Join(n.path(), e.name)
	if t.marker != "" && p == t.marker && e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB) != 0 {
		t.latest.marked = true
	}
	t.latest.rules = t.latest.rules || t.only == "" && t.book.rewritten(p, e.mask)
	folder := e.mask&unix.IN_ISDIR != 0
	out := t.filtered(p, folder)
	if !out {
		t.changes.add(p, now)
		if p == t.awaited && e.mask&(unix.IN_CREATE|unix.IN_MODIFY|unix.IN_ATTRIB) == 0 {
			t.latest.closed = true
		}
	}
	switch {
	case !folder: // one that is left out may be moved to where it is not, and be open still
		t.applyFile(p, e)
	case !out:
		t.applyFolder(n, p, e, now)
	}
}

func (t *tree) applyFile(p string, e event) {
	switch {
	case e.mask&unix.IN_CREATE != 0:
		t.marks[p] |= created
	case e.mask&unix.IN_MODIFY != 0:
		t.marks[p] |= written
	case e.mask&(unix.IN_CLOSE_WRITE|unix.IN_DELETE) != 0:
		delete(t.marks, p)
	case e.mask&unix.IN_MOVED_FROM != 0:
		t.carryOff(p, e.cookie)
	case e.mask&unix.IN_MOVED_TO != 0:
		delete(t.marks, p)
		t.bringBack(p, e.cookie)
	}
}

func (t *tree) applyFolder(n *node, p string, e event, now time.Time) {
	child := n.children[e.name]
	switch {
	case e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		if child != nil { // it took the place of another
			t.drop(child)
		}
		t.bringBack(p, e.cookie)
		t.addBelow(n, e.name, p, now)
	case e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		t.carryOff(p, e.cookie)
		if child != nil {
			t.drop(child)
		}
	case e.mask&unix.IN_ATTRIB != 0 && (child == nil || child.wd == none):
		t.addBelow(n, e.name, p, now) // it may be readable now
	}
}

// addBelow watches a new folder and all in it. Each folder is watched before it
// is listed, so that what is made meanwhile is either listed or told of.
func (t *tree) addBelow(n *node, name, p string, now time.Time) {
	s := &scanner{t: t, found: func(path string) { t.changes.add(path, now) }}
	dir, err := t.openFolder(n.path())
	if err != nil {
		return // it is gone, and the event that says so will come
	}
	defer func() { _ = unix.Close(dir) }()
	s.child(n, dir, name, p, strings.Count(p, "/")+1)
	if s.missing > 0 {
		t.latest.lost = true // the scan that follows finds out what is wrong
	}
}

// carryOff takes the marks of a path, and of those below it, with a move.
func (t *tree) carryOff(p string, cookie uint32) {
	m := movedMarks{cookie: cookie, marks: map[string]mark{}}
	for q, v := range t.marks {
		if rest, ok := strings.CutPrefix(q, p); ok && (rest == "" || rest[0] == '/') {
			m.marks[rest] = v
			delete(t.marks, q)
		}
	}
	if cookie == 0 || len(m.marks) == 0 {
		return
	}
	if len(t.moved) >= maxMoved {
		t.moved = t.moved[1:]
	}
	t.moved = append(t.moved, m)
}

// bringBack puts the marks of a move to its new place.
func (t *tree) bringBack(p string, cookie uint32) {
	for i, m := range t.moved {
		if m.cookie == cookie && cookie != 0 {
			for rest, v := range m.marks {
				t.marks[p+rest] = v
			}
			t.moved = append(t.moved[:i:i], t.moved[i+1:]...)
			return
		}
	}
}
