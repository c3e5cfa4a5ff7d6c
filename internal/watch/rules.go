package watch

import "golang.org/x/sys/unix"

// Rules say what of a tree is not published. It is not watched either: nothing
// that happens there is a reason to publish, and its folders take no watch of
// the kernel's.
type Rules interface {
	// LeaveOut says that a path, slash-separated and below the tree's root, is
	// not published; of a folder, that nothing below it is.
	LeaveOut(path string, folder bool) bool
	// String is the same for the same rules.
	String() string
}

// rulebook is the rules of a tree and where they come from.
type rulebook struct {
	// file is the name of a file at the root that they are in, "" for none. It is
	// watched whatever they say, as its change may change all, and as one that is
	// half written must not be followed.
	file string
	read func(dir string) (Rules, error) // nil: there are none

	rules   Rules // nil while nothing is left out
	ignored int   // files and folders that the last scan left out
}

func (b *rulebook) leavesOut(p string, folder bool) bool {
	return b.rules != nil && p != b.file && b.rules.LeaveOut(p, folder)
}

// rewritten says that an event on a path is the end of a change of the rules.
func (b *rulebook) rewritten(p string, mask uint32) bool {
	return b.file != "" && p == b.file && mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE) != 0
}

// readRules takes the rules in as they are now. While they are being written, and
// where they cannot be read, those of before stay: the release waits, or
// publishing says what is wrong with them.
func (t *tree) readRules() {
	if t.book.read == nil || t.only != "" || t.book.file != "" && t.checkOpen(t.book.file) {
		return
	}
	now, err := t.book.read(t.folder)
	if err != nil {
		return
	}
	if t.book.rules == nil || t.book.rules.String() != now.String() {
		t.changes.all = true // who writes to what was left out before is not known
	}
	t.book.rules = now
}
