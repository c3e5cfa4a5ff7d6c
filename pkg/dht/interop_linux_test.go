package dht

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// namespace makes a network namespace whose loopback device has the addresses:
// stock clients have nothing to do with 127/8.
func namespace(t *testing.T, addrs ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "wants root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing(t, "wants iproute2")
	}
	name := fmt.Sprintf("dht%d", os.Getpid())
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			missing(t, fmt.Sprintf("ip %s: %v: %s", args, err, out))
		}
	}
	ip("netns add " + name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ip("-n " + name + " link set lo up")
	for _, a := range addrs {
		ip("-n " + name + " addr add " + a + "/24 dev lo")
	}
	return name
}

// listenIn opens a socket in a namespace, where it stays.
func listenIn(t *testing.T, namespace, at string) (c *net.UDPConn) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		f, err := os.Open("/run/netns/" + namespace)
		if err == nil {
			defer func() { _ = f.Close() }()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c
}

// stock is a libtorrent node that does what it is told.
type stock struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func (s stock) do(format string, args ...any) string {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, format+"\n", args...); err != nil {
		s.t.Fatal(err)
	}
	if !s.out.Scan() {
		s.t.Fatalf("libtorrent ended: %v", s.out.Err())
	}
	s.t.Logf(format+": "+s.out.Text(), args...)
	return s.out.Text()
}

func startStock(t *testing.T, namespace, listen string, node netip.AddrPort, k ed25519.PrivateKey) stock {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", namespace, "/usr/bin/python3", "testdata/stock.py", listen, node.String(),
		fmt.Sprintf("%x", k.Seed()), fmt.Sprintf("%x", k.Public()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return stock{t, in, bufio.NewScanner(out)}
}

// A stock node and ours are one DHT: peers and items that one stores the other finds.
func TestStockNode(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-c", "import libtorrent").Run(); err != nil {
		missing(t, "libtorrent's Python module is not there: "+err.Error())
	}
	ns := namespace(t, "10.77.0.1", "10.77.0.2", "10.77.0.3")
	zone := netip.MustParsePrefix("10.77.0.0/24")
	cfg := Config{Conn: listenIn(t, ns, "10.77.0.1:6881"), Allow: zone.Contains}
	n, _ := run(t, cfg)
	k := key(7)
	s := startStock(t, ns, "10.77.0.2:6882", n.Addr(), k)
	if s.do("nodes") == "0" {
		t.Fatal("libtorrent has not taken our node")
	}
	wait(t, "our node to take libtorrent's", func() bool { return n.Stats().Good == 1 })

	var found list[netip.AddrPort]
	s.do("announce %x", hash1)
	wait(t, "its peer to be stored here", func() bool { return n.Stats().Peers == 1 })
	defer n.Keep(hash1, 7200, func(p []netip.AddrPort) { found.add(p...) })()
	wait(t, "its peer to be found", has(&found, netip.MustParseAddrPort("10.77.0.2:6882")))
	wait(t, "our peer to be announced", func() bool { return n.Stats().Announces > 0 })

	// A third one, which knows libtorrent's node alone.
	third, _ := run(t, Config{Conn: listenIn(t, ns, "10.77.0.3:6883"), Allow: zone.Contains, ReadOnly: true, Bootstrap: []string{"10.77.0.2:6882"}})
	var late list[netip.AddrPort]
	wait(t, "libtorrent to hand out our peer", func() bool {
		_ = third.Find(context.Background(), hash1, func(p []netip.AddrPort) { late.add(p...) })
		return has(&late, netip.MustParseAddrPort("10.77.0.1:7200"))()
	})
	if got := s.do("peers %x", hash1); !strings.Contains(got, ":6882") && !strings.Contains(got, ":7200") {
		t.Errorf("libtorrent finds peers %s", got)
	}

	var heard list[heardItem]
	it := signed(k, "web", 1, "5:hello")
	defer follow(n, it, time.Hour, &heard)()
	if got := s.do("put web hello"); got != "1 1" {
		t.Errorf("libtorrent's put: %s", got)
	}
	wait(t, "libtorrent's item to be heard", func() bool { return len(heard.all()) == 1 })
	if got := heard.all()[0]; got.value != "5:hello" || got.seq != 1 || got.from != netip.MustParseAddrPort("10.77.0.2:6882") {
		t.Errorf("heard %+v", got)
	}
	stop, err := n.Publish(signed(k, "web", 2, "5:world"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	wait(t, "libtorrent to take our item", func() bool { return n.Stats().Puts > 0 })
	if got := s.do("get web"); !strings.HasPrefix(got, "2 ") || !strings.Contains(got, "world") {
		t.Errorf("libtorrent gets %s", got)
	}
}
