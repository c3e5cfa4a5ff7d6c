package httpfetch

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setLowat has the kernel hold back a reader until n bytes are there, or the end
// of the stream. Where it does not, the reader is woken more often.
func setLowat(c syscall.RawConn, n int) {
	_ = c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) })
}
