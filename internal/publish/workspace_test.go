package publish

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockEndsWithThePublish: a descriptor that a program took along when it
// was started during a publish does not keep the next one out.
func TestLockEndsWithThePublish(t *testing.T) {
	b := newBench(t)
	w, err := openWorkspace(b.st)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := unix.Dup(int(w.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(taken) }()
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openWorkspace(b.st)
	if err != nil {
		t.Fatalf("the lock is still held: %v", err)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
}
