package httpfetch

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setCongestion asks for a congestion control on the socket, unless name is
// empty, and returns the one that the socket has then. The kernel may not have
// it or not allow it, and then its own stays.
func setCongestion(c syscall.RawConn, name string) (used string, err error) {
	cerr := c.Control(func(fd uintptr) {
		if name != "" {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		}
		used, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	if err == nil {
		err = cerr
	}
	return used, err
}
