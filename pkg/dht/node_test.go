package dht

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

var hash1 = [20]byte{1, 2, 3}

func TestAnnounceAndFind(t *testing.T) {
	nodes := farm(t, 12, Config{})
	var found [3]list[netip.AddrPort]
	for i, port := range []uint16{7001, 7002, 7003} {
		stop := nodes[i].Keep(hash1, port, func(p []netip.AddrPort) { found[i].add(p...) })
		defer stop()
	}
	wait(t, "peers to find each other", func() bool {
		return has(&found[0], loop(7002), loop(7003))() && has(&found[1], loop(7001), loop(7003))() && has(&found[2], loop(7001), loop(7002))()
	})
	if has(&found[0], loop(7001))() {
		t.Error("a peer was told of itself")
	}
	var late list[netip.AddrPort]
	wait(t, "a late one to find all three at one address", func() bool {
		if err := nodes[11].Find(context.Background(), hash1, func(p []netip.AddrPort) { late.add(p...) }); err != nil {
			t.Fatal(err)
		}
		return has(&late, loop(7001), loop(7002), loop(7003))()
	})
	if s := nodes[0].Stats(); s.Announces == 0 || s.LastAnswer.IsZero() || s.PacketsIn == 0 || s.PacketsOut == 0 || len(s.Nodes) != s.Good {
		t.Errorf("stats: %+v", s)
	}
}

// Two nodes are a zone, whichever was there first.
func TestTwoNodes(t *testing.T) {
	a, _ := run(t, Config{})
	var found list[netip.AddrPort]
	stop := a.Keep(hash1, 7001, func(p []netip.AddrPort) { found.add(p...) })
	defer stop()
	b, _ := run(t, Config{})
	b.AddNode(a.Addr())
	var late list[netip.AddrPort]
	wait(t, "the second node to find the first one's peer", func() bool {
		_ = b.Find(context.Background(), hash1, func(p []netip.AddrPort) { late.add(p...) })
		return has(&late, loop(7001))()
	})
	defer b.Keep(hash1, 7002, func([]netip.AddrPort) {})()
	wait(t, "the first one to hear of the second one's peer", has(&found, loop(7002)))
	stop()
	before := len(found.all())
	defer b.Keep(hash1, 7003, func([]netip.AddrPort) {})()
	wait(t, "another announce", func() bool { return a.Stats().Peers >= 2 })
	if len(found.all()) != before {
		t.Error("heard of a peer after stop")
	}
}

// While few nodes are known nobody waits for the next round: nothing here is done
// twice by itself.
func TestNewNodeIsWelcome(t *testing.T) {
	cfg := Config{}
	cfg.times.retry = backoff{first: time.Hour, last: time.Hour}
	cfg.times.announce, cfg.times.republish = time.Hour, time.Hour
	a, _ := run(t, cfg)
	var found list[netip.AddrPort]
	defer a.Keep(hash1, 7001, func(p []netip.AddrPort) { found.add(p...) })()
	stop, err := a.Publish(signed(key(1), "", 1, "i1e"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	time.Sleep(50 * time.Millisecond) // what is done at once is done
	cfg.Bootstrap = []string{a.Addr().String()}
	b, _ := run(t, cfg)
	wait(t, "a to be announced to b", func() bool { return b.Stats().Peers == 1 })
	wait(t, "the item to be given to b", func() bool { return b.Stats().Items == 1 })
	defer b.Keep(hash1, 7002, func([]netip.AddrPort) {})()
	wait(t, "a to hear of b's peer", has(&found, loop(7002)))
	var again list[netip.AddrPort]
	if _, err := a.findPeers(context.Background(), hash1, 7001, func(p []netip.AddrPort) { again.add(p...) }); err != nil {
		t.Fatal(err)
	}
	if all := again.all(); len(all) != 1 || all[0] != loop(7002) {
		t.Errorf("a finds %v, not b's peer alone", all)
	}
}

func TestBothFamilies(t *testing.T) {
	c6, err := netListen6()
	if err != nil {
		t.Skip("no IPv6 here: " + err.Error())
	}
	both, _ := run(t, Config{Conn: c6})
	port := both.Addr().Port()
	four, _ := run(t, Config{Bootstrap: []string{loop(port).String()}})
	six, _ := run(t, Config{Conn: listen(t, "[::1]:0"), Bootstrap: []string{netip.AddrPortFrom(netip.IPv6Loopback(), port).String()}})
	wait(t, "the middle one to know both", func() bool { return both.Stats().Good == 2 })
	for _, a := range both.Stats().Nodes {
		if a.Addr().Is4In6() {
			t.Errorf("%v is mapped", a)
		}
	}
	defer four.Keep(hash1, 7004, func([]netip.AddrPort) {})()
	defer six.Keep(hash1, 7006, func([]netip.AddrPort) {})()
	var found list[netip.AddrPort]
	defer both.Keep(hash1, 0, func(p []netip.AddrPort) { found.add(p...) })()
	wait(t, "peers of both families", has(&found, loop(7004), netip.AddrPortFrom(netip.IPv6Loopback(), 7006)))
}

func TestRestartWithoutBootstrap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nodes")
	a, _ := run(t, Config{})
	b, _ := run(t, Config{Bootstrap: []string{a.Addr().String()}})
	c, stop := run(t, Config{Bootstrap: []string{a.Addr().String()}, NodesFile: file})
	wait(t, "c to know both", func() bool { return c.Stats().Good == 2 })
	id := c.id
	stop()
	c, stop = run(t, Config{NodesFile: file})
	wait(t, "c to know both again", func() bool { return c.Stats().Good == 2 })
	if c.id != id {
		t.Error("another ID after the restart")
	}
	stop()
	_ = b
}

func TestBootstrapComesLater(t *testing.T) {
	f := newForeign(t, "127.0.0.1:0")
	at := f.addr()
	n, _ := run(t, Config{Bootstrap: []string{at.String()}})
	time.Sleep(50 * time.Millisecond)
	_ = f.c.Close()
	run(t, Config{Conn: listen(t, at.String())})
	wait(t, "the bootstrap node to be found", func() bool { return n.Stats().Good == 1 })
}

func TestReadOnly(t *testing.T) {
	nodes := farm(t, 3, Config{})
	n, _ := run(t, Config{ReadOnly: true, Bootstrap: []string{nodes[0].Addr().String()}})
	defer nodes[1].Keep(hash1, 7001, func([]netip.AddrPort) {})()
	var found list[netip.AddrPort]
	defer n.Keep(hash1, 0, func(p []netip.AddrPort) { found.add(p...) })()
	wait(t, "it to find a peer", has(&found, loop(7001)))
	wait(t, "it to know all", func() bool { return n.Stats().Good == 3 })
	f := newForeign(t, "127.0.0.1:0")
	f.send(n, query1("ping", ""))
	wait(t, "the query to be refused", func() bool { return n.Stats().Refused[ReadOnly] > 0 })
	if asked := n.Stats().Refused[ReadOnly]; asked != 1 {
		t.Errorf("others have asked it %d times", asked-1)
	}
	if m := f.recv(50 * time.Millisecond); m != nil {
		t.Errorf("answered %+v", m)
	}
	for _, o := range nodes {
		for _, a := range o.Stats().Nodes {
			if a == n.Addr() {
				t.Error("a read-only node is known as a node")
			}
		}
	}
}

func TestRunEnds(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	n, err := New(Config{Conn: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Find(context.Background(), hash1, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Find before Run: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(context.Background()) }()
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("Run says nothing of a socket that another closed")
	}
	if n.Run(context.Background()) == nil {
		t.Error("Run ran twice")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no socket is no error")
	}
	if _, err := New(Config{Conn: c, Bootstrap: []string{"host"}}); err == nil {
		t.Error("a bootstrap node without port is no error")
	}
}
