package serve

import (
	"net"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// congestionOf is what the kernel says of a connection.
func congestionOf(t *testing.T, conn net.Conn) (got string) {
	t.Helper()
	raw, err := conn.(*tcpConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		got, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return got
}

// TestCongestion: connections have the congestion control that was asked for, or
// the kernel's own where it is not offered; which, is logged once.
func TestCongestion(t *testing.T) {
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	own := ""
	for _, c := range []struct{ asked, want, level string }{
		{"", "", "info"}, {"reno", "reno", "info"}, {"no-such-control", "", "warn"},
	} {
		core, logged := observer.New(zap.InfoLevel)
		s := newServer(t, Config{Catalog: newCatalog(), Congestion: c.asked, Log: zap.New(core)})
		want := c.want
		for range 2 {
			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conn, err := (&limitListener{Listener: ln, s: s}).Accept()
			if err != nil {
				t.Fatalf("%q: %v", c.asked, err)
			}
			got := congestionOf(t, conn)
			if c.asked == "" {
				own = got
			}
			if want == "" {
				want = own
			}
			if got != want {
				t.Errorf("%q: the connection has %q, want %q", c.asked, got, want)
			}
			_ = conn.Close()
			_ = client.Close()
		}
		all := logged.All()
		if len(all) != 1 || all[0].Level.String() != c.level || all[0].ContextMap()["used"] != want {
			t.Errorf("%q: logged %+v, want one line of level %s with %q", c.asked, all, c.level, want)
		}
	}
}
