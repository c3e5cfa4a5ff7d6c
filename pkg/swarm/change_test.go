package swarm

import (
	"io"
	"net"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// TestLowerTheLimitOfConnections: of the connections that there are, those stay
// on which somebody wants something, and no more are taken.
func TestLowerTheLimitOfConnections(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true})
	seed2 := seed.also(newContent(t, 301<<10, 64<<10), true)
	var idle, busy []*enemy
	for _, id := range []string{"a", "b", "c"} {
		idle = append(idle, newEnemyCalled(t, "idle "+id, seed, con))
		busy = append(busy, newEnemyCalled(t, "busy "+id, seed, con))
	}
	other := newEnemyCalled(t, "other", seed2, newContent(t, 301<<10, 64<<10))
	for _, e := range append(busy, other) {
		e.w.Send(wire.Interested)
		e.flush()
	}
	interested := func(n *node) (of, all int) {
		peers := n.tor.Stats().Peers
		for _, p := range peers {
			if p.PeerInterested {
				of++
			}
		}
		return of, len(peers)
	}
	eventually(t, 10*time.Second, "all are connected", func() bool {
		of, all := interested(seed)
		of2, _ := interested(seed2)
		return of == 3 && all == 6 && of2 == 1
	})
	seed.e.SetMaxConns(1000, 3)
	for _, e := range idle {
		if !e.closed(10 * time.Second) {
			t.Error("an idle connection above the limit stays")
		}
	}
	if of, all := interested(seed); of != 3 || all != 3 {
		t.Errorf("%d connections, %d of use", all, of)
	}
	busy[0].w.SendRequest(wire.Request, wire.Block{Length: 1000})
	busy[0].flush()
	busy[0].next(wire.Piece, wire.Reject)
	eventually(t, 10*time.Second, "what was sent is counted", func() bool { return seed.tor.Stats().Uploaded == 1000 })
	seed.e.SetMaxConns(1, 3)
	for _, e := range []*enemy{busy[1], busy[2], other} {
		if !e.closed(10 * time.Second) {
			t.Error("a connection above the node's limit stays")
		}
	}
	if of, all := interested(seed); of != 1 || all != 1 {
		t.Errorf("%d connections, %d of use: the one that has carried something is to stay", all, of)
	}
	nc, err := net.Dial("tcp", seed.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.Copy(io.Discard, nc); n > 0 || timedOut(err) {
		t.Errorf("a connection above the limit is not closed: %d bytes, %v", n, err)
	}
}
