package bttrack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// deferAccept has the kernel keep a connection to itself until its request is
// there: it is read at once then, without a wait and a wake-up in between. That
// is a gain only, so that a kernel without it is no error.
func deferAccept(_, _ string, c syscall.RawConn) error {
	const seconds = 5
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds) })
}
