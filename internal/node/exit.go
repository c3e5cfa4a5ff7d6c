package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"

	"distd/internal/bucket"
	"distd/internal/manifest"
	"distd/internal/metainfo"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/pkg/httpfetch"
)

// Exit codes of sysexits(3).
const (
	ExUsage       = 64 // a flag or argument is wrong
	ExDataErr     = 65 // the input is not what it should be
	ExNoInput     = 66 // the input is not there or cannot be read
	ExUnavailable = 69 // a server, daemon or release is not there, or a port is taken
	ExSoftware    = 70 // anything else
	ExCantCreat   = 73 // the output cannot be made
	ExIOErr       = 74 // reading or writing failed, the disk is full
	ExTempFail    = 75 // try again later
	ExProtocol    = 76 // a server's answer is not what was asked for, or it cannot show who it is
	ExNoPerm      = 77 // not allowed
	ExConfig      = 78 // the configuration is wrong
)

// codedError is an error with the exit code that goes with it: where the error
// alone does not say whose mistake it was, or where it crossed the control
// socket.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// coded gives an error an exit code, unless it has one that says more than that
// it is some error.
func coded(code int, err error) error {
	if err == nil || ExitCode(err) != ExSoftware {
		return err
	}
	return &codedError{code, err}
}

// ExitCode is the exit code that tells a script what kind of error it was.
func ExitCode(err error) int {
	var c *codedError
	if errors.As(err, &c) && c.code != 0 {
		return c.code
	}
	var op *net.OpError
	var store *bucket.TemporaryError
	switch code := systemCode(err); {
	case code != 0:
		return code
	case serverCode(err) != 0:
		return serverCode(err)
	case errors.As(err, &store), errors.As(err, &op) && op.Op == "dial":
		return ExUnavailable
	}
	return ExSoftware
}

// serverCode is the exit code of what a mirror, or a server of torrents and
// metalinks, did wrong; 0 for other errors.
func serverCode(err error) int {
	switch httpfetch.CauseOf(err) {
	case httpfetch.CauseAbsent:
		return ExNoInput
	case httpfetch.CauseRefused:
		return ExNoPerm
	case httpfetch.CauseBusy:
		return ExTempFail
	case httpfetch.CauseAway:
		return ExUnavailable
	case httpfetch.CauseProtocol:
		return ExProtocol
	case httpfetch.CauseBytes:
		return ExDataErr
	}
	return 0
}

// systemCode is the exit code of an error that callers know by its value; 0 for
// others.
func systemCode(err error) int {
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
		{store.ErrNoPrevious, ExUnavailable},
		{metainfo.ErrMalformed, ExDataErr},
		{metainfo.ErrChanged, ExTempFail},
		{metainfo.ErrContent, ExNoInput},
		{metainfo.ErrOutput, ExCantCreat},
		{publish.ErrSourceChanged, ExTempFail},
		{publish.ErrBusy, ExTempFail},
		{publish.ErrManyDeleted, ExDataErr},
		{publish.ErrNotKept, ExNoInput},
		{publish.ErrIsNewest, ExUsage},
		{store.ErrIncomplete, ExDataErr},
		{bucket.ErrConflict, ExTempFail},
		{bucket.ErrSerial, ExTempFail},
		{bucket.ErrChanged, ExDataErr},
		{bucket.ErrNoBucket, ExUnavailable},
		{syscall.ENOSPC, ExIOErr},
		{syscall.EDQUOT, ExIOErr},
		{syscall.EROFS, ExCantCreat},
		{syscall.EIO, ExIOErr},
		{syscall.ENOTDIR, ExCantCreat},
		{syscall.EADDRINUSE, ExUnavailable},
		{syscall.EADDRNOTAVAIL, ExConfig},
		{fs.ErrPermission, ExNoPerm},
		{fs.ErrExist, ExCantCreat},
		{fs.ErrNotExist, ExNoInput},
		{metainfo.ErrSource, ExDataErr},
	} {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return 0
}
