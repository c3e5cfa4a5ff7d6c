package node

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A torrent with mirrors ends when the disk refuses pieces, and is not left waiting
// for peers.
func TestTorrentOnFullDisk(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	writeFiles(t, src, map[string]string{"f.bin": strings.Repeat("some content ", 100_000)})
	in := torrentOf(t, filepath.Join(src, "f.bin"))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	err := fetchInto(t, dir, nil, in)
	if err == nil || !strings.Contains(err.Error(), "store piece") {
		t.Errorf("got %v, want an error of the disk", err)
	}
}
