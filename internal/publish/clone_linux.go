package publish

import (
	"os"

	"golang.org/x/sys/unix"
)

// cloneFile makes the empty file dst share all blocks of src.
func cloneFile(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}

// startWriteback asks the kernel to begin writing a part of the file to disk.
// It is a hint: the sync comes later.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
