package dht

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 90 * time.Second // a loaded machine loses packets

// wait waits until a condition is true.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited %v for %s", patience, what)
}

func listen(t testing.TB, at string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loopback(a netip.Addr) bool { return a.IsLoopback() }

func only(addrs ...string) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return slices.Contains(addrs, a.String()) }
}

// run makes a node and runs it until stop is called or the test ends.
func run(t testing.TB, cfg Config) (n *Node, stop func()) {
	t.Helper()
	if cfg.Conn == nil {
		cfg.Conn = listen(t, "127.0.0.1:0")
	}
	if cfg.Allow == nil {
		cfg.Allow = loopback
	}
	if cfg.times.bootstrap == (backoff{}) {
		cfg.times.bootstrap = backoff{first: 20 * time.Millisecond, last: 200 * time.Millisecond}
	}
	if cfg.times.retry == (backoff{}) {
		cfg.times.retry = backoff{first: 50 * time.Millisecond, last: 500 * time.Millisecond}
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

// farm runs n nodes that know each other.
func farm(t testing.TB, count int, cfg Config) (nodes []*Node) {
	t.Helper()
	for i := range count {
		c := cfg
		if i > 0 {
			c.Bootstrap = []string{nodes[0].Addr().String()}
		}
		n, _ := run(t, c)
		nodes = append(nodes, n)
	}
	wait(t, "all nodes to know the others", func() bool {
		return !slices.ContainsFunc(nodes, func(n *Node) bool { return n.Stats().Good < min(count-1, 8) })
	})
	return nodes
}

// list collects what is found.
type list[T any] struct {
	mu sync.Mutex
	l  []T
}

func (l *list[T]) add(v ...T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.l = append(l.l, v...)
}

func (l *list[T]) all() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.l)
}

func has[T comparable](l *list[T], v ...T) func() bool {
	return func() bool {
		all := l.all()
		return !slices.ContainsFunc(v, func(v T) bool { return !slices.Contains(all, v) })
	}
}

func loop(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func key(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

func signed(k ed25519.PrivateKey, salt string, seq int64, value string) Item {
	it := Item{Key: [32]byte(k.Public().(ed25519.PublicKey)), Salt: []byte(salt), Seq: seq, Value: []byte(value)}
	it.Sig = [64]byte(ed25519.Sign(k, it.Message()))
	return it
}

// foreign is a host that speaks to nodes by hand.
type foreign struct {
	t testing.TB
	c *net.UDPConn
}

func newForeign(t testing.TB, at string) *foreign {
	c := listen(t, at)
	t.Cleanup(func() { _ = c.Close() })
	return &foreign{t, c}
}

func (f *foreign) addr() netip.AddrPort { return unmap(f.c.LocalAddr()) }

func (f *foreign) send(to *Node, packet string) {
	f.t.Helper()
	if _, err := f.c.WriteToUDPAddrPort([]byte(packet), to.Addr()); err != nil {
		f.t.Fatal(err)
	}
}

// recv returns the next reply or error; queries of the node are left out.
func (f *foreign) recv(within time.Duration) *message {
	f.t.Helper()
	_ = f.c.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 4096)
	for {
		n, err := f.c.Read(b)
		if err != nil {
			return nil
		}
		m, why := parse(b[:n])
		if why != "" {
			f.t.Fatalf("node sends %q: %s", b[:n], why)
		}
		if m.kind != 'q' {
			return m
		}
	}
}

// call sends a query and returns what comes back.
func (f *foreign) call(to *Node, name, args string) *message {
	f.t.Helper()
	f.send(to, query1(name, args))
	m := f.recv(patience)
	if m == nil {
		f.t.Fatalf("no answer to %s%q; refused: %v", name, args, to.Stats().Refused)
	}
	return m
}

const testID = "abcdefghij0123456789"

// query1 writes a query. args are the bencoded arguments beside the ID, of which
// only cas comes before it.
func query1(name, args string) string {
	cas := ""
	if strings.HasPrefix(args, "3:cas") {
		cas, args = args[:8], args[8:]
	}
	return fmt.Sprintf("d1:ad%s2:id20:%s%se1:q%d:%s1:t2:aa1:y1:qe", cas, testID, args, len(name), name)
}

func netListen6() (*net.UDPConn, error) { return net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6zero}) }
