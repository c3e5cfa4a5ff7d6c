package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutCapability runs fn on a thread that lacks one.
func withoutCapability(t *testing.T, c uint, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine, as it is never unlocked.
		runtime.LockOSThread()
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&h, &data[0])
		data[c/32].Effective &^= 1 << (c % 32)
		if err == nil {
			err = unix.Capset(&h, &data[0])
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestOwnerWithoutRights: what this user may not do is said at once, and leaves
// nothing behind.
func TestOwnerWithoutRights(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o755))
	for name, drop := range map[string]uint{"CAP_CHOWN": unix.CAP_CHOWN, "CAP_FOWNER": unix.CAP_FOWNER} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, filepath.Join(dir, name))
			var err error
			withoutCapability(t, drop, func() { err = s.SetOwner(Owner{1234, 5678}) })
			if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_CHOWN") || !strings.Contains(err.Error(), "1234:5678") {
				t.Errorf("error %v", err)
			}
			if left := list(t, s.abs(tmpDir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if s.fs.owner != NoOwner {
				t.Errorf("the owner is %v", s.fs.owner)
			}
		})
	}
}
