package publish

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinksAreNotSynced: files that are those of the release before are on the disk
// for good, and nobody opens them to sync them again.
func TestLinksAreNotSynced(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"site/a", "site/b", "site/c"} {
		b.write(name, static(name[5], 16<<10))
	}
	o := Options{Path: filepath.Join(b.src, "site"), PieceLength: 16 << 10}
	first := b.publish(o)
	b.write("site/b", static('x', 16<<10))
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range []string{"a", "c"} { // whatever name they are opened by
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(first.Dir, "content/site", name), unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	res, err := b.try(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(fd, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the files were opened: %d bytes of events, error %v", n, err)
	}
	for _, name := range []string{"a", "c"} {
		was, err := os.Stat(filepath.Join(first.Dir, "content/site", name))
		if err != nil {
			t.Fatal(err)
		}
		is, err := os.Stat(filepath.Join(res.Dir, "content/site", name))
		if err != nil || !os.SameFile(was, is) {
			t.Errorf("%s is not the same file: %v", name, err)
		}
	}
	b.check(res, o)
}
