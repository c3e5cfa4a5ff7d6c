//go:build !linux

package pieces

import (
	"errors"
	"io/fs"
	"os"
)

// preallocMin is more than any file has: no space is taken before it is needed.
const preallocMin = 1 << 62

func openIn(root *os.Root, name string, flag int, perm fs.FileMode) (*os.File, error) {
	return root.OpenFile(name, flag, perm)
}

// resize cuts a file that is longer than want bytes.
func resize(f *os.File, want int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() <= want {
		return err
	}
	return f.Truncate(want)
}

// nextData takes everything for data.
func nextData(_ *os.File, off, size int64) (from, to int64, err error) { return off, size, nil }

func syncFS(*os.File) error { return errors.ErrUnsupported }

func stampOf(info fs.FileInfo) []int64 { return []int64{info.Size(), info.ModTime().UnixNano()} }

// links takes every file for one with a single name.
func links(fs.FileInfo) uint64 { return 1 }
