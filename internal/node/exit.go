package node

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// Exit codes of sysexits(3).
const (
	ExUsage       = 64 // a flag or argument is wrong
	ExDataErr     = 65 // the input is not what it should be
	ExNoInput     = 66 // the input is not there or cannot be read
	ExUnavailable = 69 // a server cannot be reached or does not have it
	ExSoftware    = 70 // anything else
	ExCantCreat   = 73 // the output cannot be made
	ExIOErr       = 74 // reading or writing failed, the disk is full
	ExTempFail    = 75 // try again later
	ExProtocol    = 76 // a server or peer answered nonsense
	ExNoPerm      = 77 // not allowed
	ExConfig      = 78 // the configuration is wrong
)

// codedError is an error that crossed the control socket.
type codedError struct {
	code int
	text string
}

func (e *codedError) Error() string { return e.text }

// ExitCode is the exit code that tells a script what kind of error it was.
func ExitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) && coded.code != 0 {
		return coded.code
	}
	for _, c := range []struct {
		is   error
		code int
	}{
		{context.Canceled, ExTempFail},
		{store.ErrLocked, ExTempFail},
		{ErrNoDaemon, ExUnavailable},
		{store.ErrForeign, ExCantCreat},
		{manifest.ErrSignature, ExDataErr},
		{manifest.ErrKey, ExDataErr},
		{manifest.ErrMalformed, ExDataErr},
		{publish.ErrSourceChanged, ExTempFail},
		{syscall.ENOSPC, ExIOErr},
		{syscall.EDQUOT, ExIOErr},
		{syscall.EROFS, ExCantCreat},
		{syscall.EIO, ExIOErr},
		{syscall.EADDRINUSE, ExUnavailable},
		{fs.ErrPermission, ExNoPerm},
		{fs.ErrNotExist, ExNoInput},
	} {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return ExSoftware
}
