package pieces

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// explain adds to an error of the file system what an operator has to do, and
// marks a full disk as ErrNoSpace.
func explain(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrNoSpace):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w on the disk; free some or move -dir to a larger one: %w", ErrNoSpace, err)
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w within the quota of this user; raise it: %w", ErrNoSpace, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the file system is mounted read-only; remount it writable: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not write there; check owner and mode: %w", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("too many open files; raise LimitNOFILE: %w", err)
	}
	return err
}
