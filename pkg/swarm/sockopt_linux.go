package swarm

import (
	"net"

	"golang.org/x/sys/unix"
)

// setNotSentLowat keeps what the kernel holds back unsent short, so that HAVE
// and requests do not wait behind data and the choice of the next block comes
// late. Kernels without the option do without.
func setNotSentLowat(c net.Conn, n int) {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	rc, err := tc.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n)
	})
}
