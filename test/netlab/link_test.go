package netlab

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// testEnds are two hosts.
func testEnds(t *testing.T) (a, b End) {
	t.Helper()
	lack := ""
	if os.Getuid() != 0 {
		lack = "root"
	} else if _, err := exec.LookPath("ip"); err != nil {
		lack = "iproute2"
	} else if _, err := os.Stat("/dev/net/tun"); err != nil {
		lack = "/dev/net/tun"
	}
	if lack != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("wants %s", lack)
		}
		t.Skipf("wants %s", lack)
	}
	n, err := NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	a.IP, b.IP = netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("10.88.0.2")
	a.Host, err = n.Lone("a")
	must(t, err)
	b.Host, err = n.Lone("b")
	must(t, err)
	return a, b
}

// newTestLink joins two hosts.
func newTestLink(t *testing.T, spec Long) *LongLink {
	t.Helper()
	a, b := testEnds(t)
	l, err := NewLongLink(a, b, spec)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// connect makes a TCP connection from the second end to the first.
func (l *LongLink) connect(t *testing.T) (atA, atB net.Conn) {
	t.Helper()
	var ln net.Listener
	must(t, l.a.within(func() (err error) { ln, err = net.Listen("tcp", "10.88.0.1:0"); return err }))
	defer func() { must(t, ln.Close()) }()
	atB, err := l.b.dial(t.Context(), "tcp", ln.Addr().String())
	must(t, err)
	atA, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { _ = atA.Close(); _ = atB.Close() })
	return atA, atB
}

// TestLongLink sends over a link with loss: TCP brings every byte, in no less time than
// the link allows, and the counters tell of it.
func TestLongLink(t *testing.T) {
	const size = 4 << 20
	l := newTestLink(t, Long{Mbit: 100, Delay: 10 * time.Millisecond, Loss: 0.005, Seed: 1})
	start := time.Now()
	atA, atB := l.connect(t)
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("connecting took %v, which is less than there and back", took)
	}
	sent := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	start = time.Now()
	go func() { _, _ = atA.Write(sent); _ = atA.Close() }()
	got, err := io.ReadAll(atB)
	must(t, err)
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived, and not those that were sent", len(got))
	}
	if least := size * 8 * time.Second / 100e6; time.Since(start) < least {
		t.Errorf("it took %v, less than %v", time.Since(start), least)
	}
	there, back := l.Carried()
	if there.Bytes < size || there.Packets < size/1460 || there.Bytes/there.Packets > 1500 {
		t.Errorf("%d bytes crossed as %v", size, there)
	}
	if there.Lost == 0 || there.Lost > there.Packets/20 {
		t.Errorf("at half a percent: %v", there)
	}
	if back.Packets == 0 || back.Bytes > there.Bytes/10 {
		t.Errorf("back went %v", back)
	}
	if l.CPU() <= 0 {
		t.Error("the link computed nothing")
	}
}

// TestLongLinkHangs: a link that hangs says nothing and carries nothing; one that
// is cut says so at once. Both come back.
func TestLongLinkHangs(t *testing.T) {
	l := newTestLink(t, Long{Mbit: 1000, Delay: time.Millisecond, Congestion: "cubic"})
	atA, atB := l.connect(t)
	pass := func(from, to net.Conn) {
		t.Helper()
		_, err := from.Write([]byte{1})
		must(t, err)
		_, err = to.Read(make([]byte, 1))
		must(t, err)
	}
	pass(atA, atB)
	l.Hang(true)
	before, _ := l.Carried()
	_, err := atA.Write([]byte{1})
	must(t, err)
	must(t, await(t.Context(), time.Millisecond, "the packet is lost", func() (bool, error) {
		c, _ := l.Carried()
		return c.Lost > before.Lost, nil
	}))
	if c, _ := l.Carried(); c.Bytes != before.Bytes {
		t.Errorf("while it hung it carried %v after %v", c, before)
	}
	l.Hang(false)
	_, err = atB.Read(make([]byte, 1))
	must(t, err)

	must(t, l.Cut(true))
	if _, err := l.b.dial(t.Context(), "tcp", "10.88.0.1:1"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("connecting over a link that is cut: %v", err)
	}
	must(t, l.Cut(false))
	pass(atB, atA)
}

// TestLongLinkCPU: what a link computed is its own, also when it gets the threads of
// one that was closed.
func TestLongLinkCPU(t *testing.T) {
	a, b := testEnds(t)
	busy, err := NewLongLink(a, b, Long{Mbit: 1000})
	must(t, err)
	atA, atB := busy.connect(t)
	go func() { _, _ = atA.Write(make([]byte, 32<<20)); _ = atA.Close() }()
	_, err = io.Copy(io.Discard, atB)
	must(t, err)
	must(t, busy.Close())
	for range 4 {
		idle, err := NewLongLink(a, b, Long{Mbit: 1000})
		must(t, err)
		idle.connect(t)
		spent := idle.CPU()
		must(t, idle.Close())
		if spent = max(spent, idle.CPU()); spent == 0 || spent > busy.CPU()/2 {
			t.Errorf("a link that carried a connection's start has computed %v, and one that carried 32 MiB %v", spent, busy.CPU())
		}
	}
}
