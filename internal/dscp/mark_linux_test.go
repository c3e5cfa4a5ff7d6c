package dscp

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMark looks at real sockets: IPv4, IPv6, and IPv4 in an IPv6 socket.
func TestMark(t *testing.T) {
	for _, c := range []struct {
		name, listen, dial string
		level, option      int
	}{
		{"IPv4", "127.0.0.1:0", "127.0.0.1", unix.IPPROTO_IP, unix.IP_TOS},
		{"IPv6", "[::1]:0", "::1", unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
		{"IPv4 in IPv6", "[::]:0", "127.0.0.1", unix.IPPROTO_IP, unix.IP_TOS},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", c.listen)
			if err != nil {
				t.Skipf("this machine has no such address: %v", err)
			}
			defer func() { _ = ln.Close() }()
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			client, err := net.Dial("tcp", net.JoinHostPort(c.dial, port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			raw, err := conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for value, want := range map[int]int{46: 46 << 2, 1: 1 << 2, Default: 0} {
				if err := Mark(raw, value); err != nil {
					t.Fatal(err)
				}
				var got int
				if cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), c.level, c.option) }); cerr != nil || err != nil {
					t.Fatal(cerr, err)
				}
				if got != want {
					t.Errorf("DSCP %d: the socket has %#x, want %#x", value, got, want)
				}
			}
		})
	}
}
