package swarm

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"distd/pkg/swarm/wire"
)

// inZone starts a node of a zone on a network in memory.
func inZone(t *testing.T, net *memNet, con *content, zone string, seed bool, change ...func(*Config)) (*node, *border) {
	b := &border{}
	return startNode(t, con, nodeOptions{net: net, seed: seed, change: func(c *Config) {
		b.change(c)
		c.Zone = zone
		for _, f := range change {
			f(c)
		}
	}}), b
}

// Two distd that are in zones of different names, whichever dials, hang up before
// a byte of the content is exchanged, remember each other, and tell nobody; those
// of one zone, and of none, go on.
func TestZonesAreCompared(t *testing.T) {
	for _, c := range []struct {
		seed, leaf string
		meet       bool
	}{{"dc1", "dc1", true}, {"dc1", "dc2", false}, {"dc1", "", true}, {"", "dc2", true}, {"dc1", "DC1", false}} {
		for _, dials := range []string{"leaf", "seed"} {
			synctest.Test(t, func(t *testing.T) {
				con := newContent(t, 300<<10, 64<<10)
				net := newMemNet(t)
				core, logs := observer.New(zapcore.DebugLevel)
				seed, bs := inZone(t, net, con, c.seed, true)
				leaf, bl := inZone(t, net, con, c.leaf, false, func(c *Config) { c.Log = zap.New(core) })
				defer leaf.stop()
				defer seed.stop()
				from, to := leaf, seed
				if dials == "seed" {
					from, to = seed, leaf
				}
				from.knows(to)
				if c.meet {
					leaf.wait(time.Minute)
					con.same(t, leaf.dir)
					if n := bl.count(SourceHandshake) + bs.count(SourceHandshake); n != 0 {
						t.Errorf("%+v: %d were kept out", c, n)
					}
					return
				}
				time.Sleep(20 * time.Minute)
				from.tor.AddPeers(SourcePEX, []netip.AddrPort{to.addr}) // named again
				time.Sleep(5 * time.Minute)
				ss, sl := seed.tor.Stats(), leaf.tor.Stats()
				if len(ss.Peers)+len(sl.Peers) != 0 || ss.Uploaded != 0 || sl.Downloaded[SourcePeers] != 0 {
					t.Errorf("%+v, %s dials: %d and %d peers, %d bytes sent, %v", c, dials, len(ss.Peers), len(sl.Peers), ss.Uploaded, sl.Downloaded)
				}
				if n, k := bs.count(SourceHandshake), bl.count(SourceHandshake); n != 1 || k != 1 {
					t.Errorf("%+v, %s dials: kept out %d times here and %d there, want once on either side", c, dials, n, k)
				}
				if n := bs.dials() + bl.dials(); n != 1 {
					t.Errorf("%+v, %s dials: %d times in 25 minutes", c, dials, n)
				}
				if got := append(seed.e.Neighbours(), leaf.e.Neighbours()...); len(got) != 0 {
					t.Errorf("%+v: neighbours %v", c, got)
				}
				said := slices.ContainsFunc(logs.All(), func(l observer.LoggedEntry) bool {
					err, _ := l.ContextMap()["error"].(string)
					return l.Level == zapcore.DebugLevel && strings.Contains(err, "peer is of another zone: it is in "+c.seed+", this node in "+c.leaf)
				})
				if !said {
					t.Errorf("%+v: no line of the log says why", c)
				}
				// After long it is tried once more, when somebody names it.
				time.Sleep(foreignTime)
				from.tor.AddPeers(SourceTracker, []netip.AddrPort{to.addr})
				time.Sleep(time.Minute)
				if n := bs.dials() + bl.dials(); n != 2 {
					t.Errorf("%+v: dialled %d times after an hour, want it to be tried once again", c, n)
				}
			})
		}
	}
}

func named(c *Config) { c.Zone = "dc1" }

// first returns the kind of the next message that is one of the kinds.
func (e *enemy) first(kinds ...wire.Type) wire.Type {
	for m := range e.messages() {
		if slices.Contains(kinds, m.Type) {
			return m.Type
		}
	}
	return wire.Unknown
}

// stockHello is the extension handshake of another client.
var stockHello = (&wire.ExtHandshake{M: map[string]uint8{wire.ExtPEX: 9}, V: "other 1.0"}).Encode()

// Before a peer's extension handshake it gets no block, and is asked for none;
// after one that names no zone it is a peer as any.
func TestNothingIsExchangedBeforeZonesAre(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, change: named})
	e := newEnemy(t, seed, con)
	block := wire.Block{Length: 1 << 10}
	e.w.Send(wire.Interested)
	e.w.SendRequest(wire.Request, block)
	e.flush()
	if got := e.first(wire.Unchoke, wire.Piece, wire.Reject); got != wire.Reject {
		t.Errorf("a request before the extension handshake is answered by %v", got)
	}
	e.w.SendExtended(0, stockHello)
	e.flush()
	if got := e.first(wire.Unchoke, wire.Piece); got != wire.Unchoke {
		t.Errorf("the extension handshake is followed by %v", got)
	}
	e.w.SendRequest(wire.Request, block)
	e.flush()
	if got := e.first(wire.Piece, wire.Reject); got != wire.Piece {
		t.Errorf("a request is then answered by %v", got)
	}

	leaf := startNode(t, con, nodeOptions{change: named})
	e = newEnemy(t, leaf, con)
	e.w.SendExtended(extPEX, (&wire.PEX{Added: []wire.PEXPeer{{Addr: netip.MustParseAddrPort("127.0.0.1:9")}}}).Encode())
	e.w.Send(wire.HaveAll)
	e.w.SendIndex(wire.AllowedFast, 0)
	e.w.Send(wire.Unchoke)
	e.flush()
	eventually(t, 30*time.Second, "the leaf is unchoked", func() bool {
		p := leaf.tor.Stats().Peers
		return len(p) == 1 && !p[0].Choked && p[0].Have == con.layout.NumPieces()
	})
	if s := leaf.tor.Stats(); s.Peers[0].Outstanding != 0 || s.KnownAddrs != 0 {
		t.Errorf("before the extension handshake %d blocks are asked for, and %d peers taken over", s.Peers[0].Outstanding, s.KnownAddrs)
	}
	e.w.SendExtended(0, stockHello)
	e.flush()
	e.requested()
}

// A peer that says it has the extension protocol and keeps its handshake back is
// hung up on; one that does not have it is served at once.
func TestPeersWithoutAZone(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, change: func(c *Config) { c.Zone, c.HandshakeTimeout = "dc1", 300*time.Millisecond }})
	if !newEnemy(t, seed, con).closed(20 * time.Second) {
		t.Error("a peer that does not say which zone it is in stays connected")
	}

	nc, err := net.Dial("tcp", seed.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	hello := append([]byte("\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00"), con.hash[:]...)
	if _, err := nc.Write(append(hello, "-OLD000-123456789012"...)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 68)); err != nil {
		t.Fatal(err)
	}
	old := &enemy{t: t, nc: nc, con: con, w: wire.NewWriter(nc, wire.WriterConfig{}), r: wire.NewReader(nc, wire.ReaderConfig{Limits: seed.tor.limits})}
	old.w.SendRequest(wire.Request, wire.Block{Length: 1 << 10})
	old.flush()
	if got := old.first(wire.Piece); got != wire.Piece {
		t.Errorf("a peer without extensions is answered by %v", got)
	}
}

// A peer of another zone that comes by itself under ever new ports fills no book.
func TestForeignPeersMakeRoom(t *testing.T) {
	b := newBook(func(string, netip.AddrPort) bool { return true })
	tor := &Torrent{e: &Engine{cfg: Config{KeptOut: func(string, netip.AddrPort) {}}}, book: b}
	for port := range uint16(maxAddrs) {
		tor.foreign(&conn{remote: netip.MustParseAddrPort("10.2.0.1:9")}, port+1)
	}
	if b.hopeful(need{}) {
		t.Error("a peer of another zone is one to dial")
	}
	if b.add(SourceTracker, netip.MustParseAddrPort("10.1.0.1:6881")) == nil || !b.hopeful(need{}) {
		t.Error("there is no room for a peer of the zone")
	}
}
