package swarm

import (
	"crypto/sha1"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// dhtNodes remembers what OnDHTNode was told.
type dhtNodes struct {
	mu   sync.Mutex
	list []netip.AddrPort
}

func (d *dhtNodes) add(a netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, a)
}

func (d *dhtNodes) all() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// withDHT is a node whose DHT is at the port.
func withDHT(port uint16, nodes *dhtNodes) func(*Config) {
	return func(c *Config) { c.DHTPort, c.OnDHTNode = port, nodes.add }
}

// Both sides of a connection learn where the other's DHT is; one without a DHT is
// not told and does not tell.
func TestDHTPort(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	var ofSeed, ofLeaf, ofOther dhtNodes
	seed := startNode(t, con, nodeOptions{seed: true, change: withDHT(1001, &ofSeed)})
	leaf := startNode(t, con, nodeOptions{change: withDHT(1002, &ofLeaf)})
	other := startNode(t, con, nodeOptions{change: withDHT(0, &ofOther)})
	for _, n := range []*node{leaf, other} {
		n.knows(seed)
		n.wait(20 * time.Second)
	}
	has := func(d *dhtNodes, want ...string) {
		t.Helper()
		eventually(t, 10*time.Second, "the port has come", func() bool { return len(d.all()) >= len(want) })
		for i, a := range d.all() {
			if i >= len(want) || a.String() != want[i] {
				t.Errorf("told of %v, want %v", d.all(), want)
			}
		}
	}
	has(&ofSeed, "127.0.0.1:1002")
	has(&ofLeaf, "127.0.0.1:1001")
	has(&ofOther)
}

func TestDHTPortWhileAskingForInfo(t *testing.T) {
	info := infoOf(50)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	var ofSeed, ofFetch dhtNodes
	seed := startNode(t, con, nodeOptions{seed: true, change: withDHT(1001, &ofSeed), spec: func(s *Spec) {
		s.InfoBytes, s.Documents = info, func() ([]byte, error) { return info, nil }
	}})
	both(t, docsFetch(t, con.hash, info, func(c *InfoConfig) { c.DHTPort, c.OnDHTNode = 1003, ofFetch.add }), info, info, seed.addr)
	eventually(t, 10*time.Second, "the seed is told", func() bool { return len(ofSeed.all()) == 1 })
	if got := ofSeed.all()[0].String(); got != "127.0.0.1:1003" {
		t.Errorf("the seed was told of %s", got)
	}
	if got := ofFetch.all(); len(got) != 1 || got[0].String() != "127.0.0.1:1001" {
		t.Errorf("the fetch was told of %v", got)
	}
}

// A peer names one port of its own address, and that only where peers may be.
func TestHostileDHTPorts(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	var nodes dhtNodes
	victim := startNode(t, con, nodeOptions{change: withDHT(1001, &nodes)})
	e := newEnemy(t, victim, con)
	for _, port := range []byte{0, 5, 6, 7} {
		e.raw(wire.Port, 0, port)
	}
	e.raw(wire.Port, 1)
	if !e.closed(10 * time.Second) {
		t.Error("a port of one byte did not end the connection")
	}
	if got := nodes.all(); len(got) != 1 || got[0].String() != "127.0.0.1:5" {
		t.Errorf("told of %v", got)
	}
	fenced, err := New(Config{PeerID: [20]byte{1}, OnDHTNode: nodes.add, AllowPeer: func(netip.Addr) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	var told atomic.Bool
	fenced.metDHT(netip.MustParseAddr("192.0.2.1"), 9, &told)
	if told.Load() || len(nodes.all()) != 1 {
		t.Errorf("told of an address that is not allowed: %v", nodes.all())
	}
}
