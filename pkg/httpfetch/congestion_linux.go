package httpfetch

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setCongestion asks for a congestion control on the socket. The kernel may not
// have it or not allow it, and then its own stays.
func setCongestion(c syscall.RawConn, name string) {
	_ = c.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
}
