package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// border is a fence for tests: around 127.1.0.0/16, and around 10.0.0.0/8 of the
// network in memory.
type border struct {
	mu     sync.Mutex
	counts map[string]int
	dialed []netip.AddrPort
}

var zoneNets = []netip.Prefix{netip.MustParsePrefix("127.1.0.0/16"), netip.MustParsePrefix("10.0.0.0/8")}

func (b *border) allows(a netip.Addr) bool {
	return slices.ContainsFunc(zoneNets, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

func (b *border) keptOut(source string, _ netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts == nil {
		b.counts = make(map[string]int)
	}
	b.counts[source]++
}

func (b *border) count(source string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[source]
}

// dials is how often the engine has dialled.
func (b *border) dials() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.dialed)
}

// change puts the fence around an engine whose dialling is recorded.
func (b *border) change(c *Config) {
	c.AllowPeer, c.KeptOut = b.allows, b.keptOut
	d := c.Dial
	if d == nil {
		d = func(ctx context.Context, ap netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", ap.String())
		}
	}
	c.Dial = func(ctx context.Context, ap netip.AddrPort) (net.Conn, error) {
		b.mu.Lock()
		b.dialed = append(b.dialed, ap)
		b.mu.Unlock()
		return d(ctx, ap)
	}
}

// outside is what a fenced node must have nothing to do with, in each of the ways
// in which an address can be written.
var outside = []netip.AddrPort{
	netip.MustParseAddrPort("127.2.0.1:6881"), netip.MustParseAddrPort("[::ffff:127.2.0.1]:6882"), netip.MustParseAddrPort("192.0.2.1:6881"),
	netip.MustParseAddrPort("[2001:db8::1]:6881"), netip.MustParseAddrPort("[fe80::1%lo]:6881"), netip.MustParseAddrPort("127.0.0.1:6881"),
}

// knownOutside are the addresses of other zones in the book.
func knownOutside(n *node) (out []netip.AddrPort) {
	n.tor.call(func() {
		for _, a := range n.tor.book.order {
			if !(&border{}).allows(a.ap.Addr()) {
				out = append(out, a.ap)
			}
		}
	})
	return out
}

// listenAt gives a node another address.
func listenAt(t *testing.T, host string) func(*Config) {
	return func(c *Config) {
		_ = c.Listener.Close()
		ln, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		c.Listener = ln
		c.Dial = func(ctx context.Context, ap netip.AddrPort) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
			return d.DialContext(ctx, "tcp", ap.String())
		}
	}
}

func startAt(t *testing.T, host string, con *content, seed bool, change ...func(*Config)) *node {
	t.Helper()
	n := startNode(t, con, nodeOptions{seed: seed, change: func(c *Config) {
		listenAt(t, host)(c)
		for _, f := range change {
			f(c)
		}
	}})
	n.addr = n.e.cfg.Listener.Addr().(*net.TCPAddr).AddrPort()
	return n
}

// Whatever names addresses of another zone: none comes into the book, each is
// counted under what named it, none is dialled, none is told to others.
func TestFenceHoldsWhateverNamesAPeer(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	b := &border{}
	n := startAt(t, "127.1.0.1", con, false, b.change)
	for _, source := range []string{SourceTracker, "configured", "neighbours", "dht", "lsd", "magnet"} {
		n.tor.AddPeers(source, outside)
		eventually(t, 30*time.Second, source, func() bool { return b.count(source) == len(outside) })
	}

	// A peer of the zone that tells of others, and itself is told of the rest.
	e := enemyFrom(t, "127.1.0.7", n, con)
	e.w.SendExtended(0, (&wire.ExtHandshake{M: map[string]uint8{wire.ExtPEX: 9}, Port: 7777}).Encode())
	var x wire.PEX
	for _, ap := range append(slices.Clone(outside), netip.MustParseAddrPort("127.1.0.99:1")) {
		x.Added = append(x.Added, wire.PEXPeer{Addr: netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port())})
	}
	e.w.SendExtended(extPEX, x.Encode())
	e.flush()
	eventually(t, 30*time.Second, "exchanged peers are judged", func() bool { return b.count(SourcePEX) == len(outside) })
	stranger := startAt(t, "127.1.0.2", con, false) // knows no fence, and both sides
	stranger.tor.AddPeers("configured", append([]netip.AddrPort{n.addr}, outside...))
	for m := range e.messages() {
		if m.Type != wire.Extended || m.ExtID != 9 {
			continue
		}
		got, err := wire.DecodePEX(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Added) != 1 || got.Added[0].Addr != stranger.addr {
			t.Errorf("a peer was told of %v, want the other one of the zone", got.Added)
		}
		break
	}

	// One that comes by itself is hung up on before it is heard.
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 2, 0, 1)}}).Dial("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if k, err := nc.Read(make([]byte, 1)); k != 0 || timedOut(err) {
		t.Errorf("a peer from outside was answered %d bytes, %v", k, err)
	}
	eventually(t, 30*time.Second, "the visitor is counted", func() bool { return b.count(SourceIncoming) == 1 })

	if _, _, err := n.e.shake(t.Context(), outside[0], con.hash, false); err == nil || b.count(SourceDial) != 1 {
		t.Errorf("an address outside could be dialled: %v", err)
	}
	if got := append(knownOutside(n), n.e.Neighbours()...); slices.ContainsFunc(got, func(ap netip.AddrPort) bool { return !b.allows(ap.Addr()) }) {
		t.Errorf("stored or given to other torrents: %v", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ap := range b.dialed {
		if !b.allows(ap.Addr()) {
			t.Errorf("%v was dialled", ap)
		}
	}
	if !slices.Contains(b.dialed, netip.MustParseAddrPort("127.1.0.99:1")) {
		t.Error("the peer of the zone that was exchanged too was not dialled")
	}
}

// enemyFrom is an enemy at an address.
func enemyFrom(t *testing.T, host string, victim *node, con *content) *enemy {
	t.Helper()
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}).Dial("tcp", victim.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return enemyOn(t, nc, [20]byte([]byte(host + "peerpeerpeerpeerpeer")[:20]), con)
}

// messages are what the victim sends.
func (e *enemy) messages() func(yield func(*wire.Message) bool) {
	return func(yield func(*wire.Message) bool) {
		var m wire.Message
		for _ = e.nc.SetReadDeadline(time.Now().Add(20 * time.Second)); ; {
			if err := e.r.Next(&m); err != nil {
				e.t.Errorf("the victim has nothing more to say: %v", err)
				return
			}
			if !yield(&m) {
				return
			}
		}
	}
}

func TestInfoFetchStaysInTheZone(t *testing.T) {
	info := infoOf(3000)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	seed := startNode(t, con, nodeOptions{seed: true, change: listenAt(t, "127.1.0.3"), spec: func(s *Spec) { s.InfoBytes = info }})
	seed.addr = seed.e.cfg.Listener.Addr().(*net.TCPAddr).AddrPort()
	b := &border{}
	c := InfoConfig{InfoHash: con.hash, PeerID: [20]byte{1}, AllowPeer: b.allows, KeptOut: b.keptOut}
	f, err := NewInfoFetch(c)
	if err != nil {
		t.Fatal(err)
	}
	f.AddPeers("magnet", append(slices.Clone(outside), seed.addr))
	if got := f.Peers(); !slices.Equal(got, []netip.AddrPort{seed.addr}) || b.count("magnet") != len(outside) {
		t.Errorf("knows %v, kept out %d", got, b.count("magnet"))
	}
	ask := infoAsk{f: f}
	x := wire.PEX{Added: []wire.PEXPeer{{Addr: outside[0]}, {Addr: netip.MustParseAddrPort("127.1.0.9:5")}}}
	if _, err := ask.extended(extPEX, x.Encode()); err != nil {
		t.Fatal(err)
	}
	if len(f.Peers()) != 2 || b.count(SourcePEX) != 1 {
		t.Errorf("after an exchange: knows %v, kept out %d", f.Peers(), b.count(SourcePEX))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got, err := f.Run(ctx); err != nil || !bytes.Equal(got, info) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// enemyOn is an enemy on a connection.
func enemyOn(t *testing.T, nc net.Conn, id [20]byte, con *content) *enemy {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	s, err := wire.Initiate(t.Context(), nc, wire.Options{PeerID: id, InfoHash: con.hash})
	if err != nil {
		t.Fatal(err)
	}
	limits := wire.Limits{Pieces: con.layout.NumPieces(), PieceLength: con.layout.PieceLength, Total: con.layout.Total, Fast: true, Extensions: true, MaxExtended: maxExtended}
	return &enemy{t: t, nc: nc, con: con, fast: s.Fast, w: wire.NewWriter(nc, wire.WriterConfig{}), r: wire.NewReader(nc, wire.ReaderConfig{Limits: limits})}
}
