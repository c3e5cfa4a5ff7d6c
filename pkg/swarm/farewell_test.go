package swarm

import (
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// A complete stock client that meets a directing seed learns that the seed has
// everything before the connection ends: it would dial again and again.
func TestDirectingSeedSaysFarewell(t *testing.T) {
	con := newContent(t, 300<<10, 16<<10)
	n := con.layout.NumPieces()
	for _, kin := range []bool{false, true} {
		seed := startNode(t, con, nodeOptions{seed: true, directing: true})
		e := newEnemy(t, seed, con)
		hello := wire.ExtHandshake{V: "other 1.0"}
		if kin {
			hello.Distd = &wire.DistdInfo{Version: 1}
		}
		e.w.SendExtended(0, hello.Encode())
		e.w.Send(wire.HaveAll)
		e.flush()
		told := map[uint32]bool{}
		_ = e.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		var m wire.Message
		for e.r.Next(&m) == nil {
			if m.Type == wire.Have {
				told[m.Index] = true
			}
		}
		if kin && len(told) == n || !kin && len(told) != n {
			t.Errorf("distd %v: told of %d pieces of %d", kin, len(told), n)
		}
		if tor := seed.tor.Stats(); len(tor.Peers) != 0 {
			t.Errorf("distd %v: the connection is still there", kin)
		}
	}
}
