package serve

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCongestion(t *testing.T) {
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	for name, want := range map[string]string{"reno": "reno", "no-such-control": "", "": ""} {
		s := newServer(t, Config{Catalog: newCatalog(), Congestion: name})
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := (&limitListener{Listener: ln, s: s}).Accept()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		raw, err := conn.(*tcpConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := raw.Control(func(fd uintptr) {
			got, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}); err != nil {
			t.Fatal(err)
		}
		if want != "" && !strings.HasPrefix(got, want) {
			t.Errorf("%q: connection has %q", name, got)
		}
		_ = conn.Close()
		_ = client.Close()
	}
}
