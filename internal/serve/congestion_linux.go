package serve

import (
	"net"

	"golang.org/x/sys/unix"
)

// setCongestion asks for a congestion control, unless name is empty, and returns
// the one that the connection has then.
func setCongestion(c *net.TCPConn, name string) (used string, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	cerr := raw.Control(func(fd uintptr) {
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
