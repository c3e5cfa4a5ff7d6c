package dscp

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mark marks what a socket sends from now on; Default takes the mark off. An
// IPv6 socket may carry IPv4, so that both options are set and one that works
// is enough. Congestion marks, in the lowest two bits, stay the kernel's.
func Mark(c syscall.RawConn, value int) error {
	tos := max(value, 0) << 2
	var err4, err6 error
	err := c.Control(func(fd uintptr) {
		err4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, tos)
		err6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos)
	})
	if err == nil && err4 != nil && err6 != nil {
		err = errors.Join(err4, err6)
	}
	if err != nil {
		return fmt.Errorf("set DSCP %d of a socket: %w", value, err)
	}
	return nil
}
