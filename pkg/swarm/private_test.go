package swarm

import (
	"net/netip"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// Peers of a private torrent neither tell each other of others and of the DHT, nor
// believe who does; those of another do.
func TestPrivateTorrent(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	other := netip.MustParseAddrPort("127.1.0.9:5")
	for _, private := range []bool{true, false} {
		var nodes dhtNodes
		seed := startNode(t, con, nodeOptions{seed: true, change: withDHT(1001, &nodes), spec: func(s *Spec) { s.Private = private }})
		e := newEnemy(t, seed, con)
		e.raw(wire.Port, 0, 7)
		e.w.SendExtended(0, stockHello)
		e.w.SendExtended(extPEX, (&wire.PEX{Added: []wire.PEXPeer{{Addr: other}}}).Encode())
		e.w.Send(wire.Interested)
		e.w.SendRequest(wire.Request, wire.Block{Length: 1 << 10})
		e.flush()
		var hello *wire.ExtHandshake
		for m := range e.messages() {
			if m.Type == wire.Extended && m.ExtID == 0 {
				var err error
				if hello, err = wire.DecodeExtHandshake(m.Data); err != nil {
					t.Fatal(err)
				}
			}
			if m.Type == wire.Piece || m.Type == wire.Reject {
				break // what came before was read
			}
		}
		if hello == nil || (hello.M[wire.ExtPEX] == 0) != private {
			t.Errorf("private %v: hello %+v", private, hello)
		}
		told := func() bool { return seed.tor.Stats().Sources[SourcePEX].Known > 0 && len(nodes.all()) > 0 }
		if private {
			if told() || len(nodes.all()) > 0 {
				t.Errorf("believed %v and %+v", nodes.all(), seed.tor.Stats().Sources)
			}
		} else {
			eventually(t, 10*time.Second, "what the peer tells is believed", told)
		}
	}
}

func TestPrivateTorrentTellsOfNoDHT(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	var ofSeed, ofLeaf dhtNodes
	seed := startNode(t, con, nodeOptions{seed: true, change: withDHT(1001, &ofSeed), spec: func(s *Spec) { s.Private = true }})
	leaf := startNode(t, con, nodeOptions{change: withDHT(1002, &ofLeaf)})
	leaf.knows(seed)
	leaf.wait(20 * time.Second)
	if a, b := ofSeed.all(), ofLeaf.all(); len(a)+len(b) != 0 {
		t.Errorf("the seed was told of %v, and has told of %v", a, b)
	}
}
