package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// inCache says whether the page at the offset is in memory, so that reading it
// costs the disk nothing and drives nothing out.
func inCache(f *os.File, off int64) bool {
	var b [1]byte
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{b[:]}, off, unix.RWF_NOWAIT)
	return err == nil && n == 1
}

// dropCache takes a part of the file out of the page cache. It is a hint.
func dropCache(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}
