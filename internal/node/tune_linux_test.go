package node

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"distd/internal/config"
)

// TestConnectionsAreMarked: as the configuration says at that moment, and no
// more once it says nothing.
func TestConnectionsAreMarked(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	tos := func() (v int) {
		t.Helper()
		if cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		return v
	}
	// A mark that somebody else has set stays where nothing is configured.
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, 8) }); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	for _, step := range []struct {
		dscp string
		want int
	}{{"", 8}, {"ef", 46 << 2}, {"8", 8 << 2}, {"", 0}} {
		n.cfg.Store(&config.Config{DSCP: step.dscp})
		n.tune(c)
		if got := tos(); got != step.want {
			t.Errorf("dscp %q: the socket has %#x, want %#x", step.dscp, got, step.want)
		}
	}
	a, b := net.Pipe() // has no mark
	n.tune(a)
	_, _ = a.Close(), b.Close()
}
