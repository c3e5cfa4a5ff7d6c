package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Errors that callers tell apart. They are wrapped in messages that name the
// object and say what to do.
var (
	// ErrLocked says that another process uses the folder.
	ErrLocked = errors.New("is in use by another distd")
	// ErrSerial says that a release is older than what the channel has seen.
	ErrSerial = errors.New("serial is too low")
	// ErrPinned says that another key is pinned for the channel.
	ErrPinned = errors.New("another key is pinned")
	// ErrForeign says that a live name belongs to somebody else.
	ErrForeign = errors.New("is not this channel's to replace")
	// ErrIncomplete says that content of a release is missing.
	ErrIncomplete = errors.New("release is not complete")
	// ErrNoPrevious says that there is no release to roll back to.
	ErrNoPrevious = errors.New("there is no previous release")
	// ErrNotDue says that no hook is due for a release.
	ErrNotDue = errors.New("no hook is due")
)

// explain wraps err with the operation, the object and what to do about it.
func explain(operation, path string, err error) error {
	if err == nil {
		return nil
	}
	var pe *os.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	if a := advice(err); a != "" {
		return fmt.Errorf("%s %s: %w (%s)", operation, path, err, a)
	}
	return fmt.Errorf("%s %s: %w", operation, path, err)
}

func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "free some space or inodes on this file system, or keep fewer releases"
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota of the user that distd runs as is used up: raise it, or keep fewer releases"
	case errors.Is(err, syscall.EROFS):
		return "remount the file system read-write, or choose another -dir"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Sprintf("distd runs as uid %d, which needs to own this folder and what is in it: chown -R it", os.Geteuid())
	case errors.Is(err, syscall.EXDEV):
		return "everything below -dir has to be on one file system"
	case errors.Is(err, syscall.EIO):
		return "the disk reports an error: see the kernel's log"
	case err != nil && strings.Contains(err.Error(), "path escapes from parent"):
		return "a symlink leads out of -dir: replace it by what it points at"
	}
	return ""
}
