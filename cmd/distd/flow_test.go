package main

import (
	"slices"
	"testing"

	"distd/internal/node"
)

// TestExplain: what an administrator reads of a release.
func TestExplain(t *testing.T) {
	leaf := node.ReleaseStatus{Size: 100 << 20, BytesLeft: 57 << 20, Peers: 15, Wasted: 12 << 10, Flow: node.Flow{
		InFlight: true, Elapsed: 8.31, DownRate: 5.2 * (1 << 20),
		Waited: map[string]float64{"pieces": 1.2, "disk": 0.3, "memory": 0.01}, Moved: map[string]float64{"peers": 5.1, "pieces": 1.7},
		Slowest: []node.PeerFlow{{Addr: "10.0.0.7:6881", Outstanding: 1, Silent: true}, {Addr: "10.0.0.8:6881", DownRate: 80 << 10, Outstanding: 4}},
	}}
	seed := node.ReleaseStatus{Size: 100 << 20, Peers: 16, Uploaded: 108 << 20, Flow: node.Flow{
		InFlight: true, SentCopies: 1.08, UpRate: 6 << 20, RequestsWaited: map[string]float64{"limits": 61, "turn": 2},
		Swarm: &node.SwarmFlow{CompletePeers: 3, LowestCopies: 2, MeanCopies: 9.44,
			Behind: []node.PeerFlow{{Addr: "10.0.0.9:6881", Done: 0.124, GainRate: 300 << 10}}},
	}}
	fetching := node.ReleaseStatus{Size: 10, BytesLeft: 10, Mirrors: []node.Mirror{{}}, Flow: node.Flow{
		InFlight: true, Elapsed: 75, Waited: map[string]float64{"mirrors": 75},
	}}
	held := node.ReleaseStatus{Size: 10, BytesLeft: 5, FromMirrors: 5, Flow: node.Flow{
		InFlight: true, Elapsed: 10, DownRate: 1 << 20, Waited: map[string]float64{"mirror_limit": 1}, Moved: map[string]float64{"mirror_limit": 9},
	}}
	passing := node.ReleaseStatus{Size: 100 << 20, Peers: 2, Uploaded: 15 << 20, Flow: node.Flow{InFlight: true, SentCopies: 0.15, UpRate: 1 << 20}}
	idle := seed
	idle.InFlight = false
	for _, c := range []struct {
		name string
		r    node.ReleaseStatus
		want []string
	}{
		{"leaf", leaf, []string{"43% after 8.3s, 5.2 MiB/s from 15 peers; waited 1.2s for pieces, 300ms for the disk; moved 6.8s: 75% at the peers' speed, 25% short of pieces; 12 KiB wasted; " +
			"slowest peers: 10.0.0.7:6881 (0 B/s with 1 request open, silent), 10.0.0.8:6881 (80 KiB/s with 4 requests open)"}},
		{"seed", seed, []string{"sent 1.08 copies, 6.0 MiB/s to 16 peers; 3 known to be complete; rarest piece has 2 copies at the peers, 9.4 on average; requests waited 1m1s for the up limit, 2s for a turn; " +
			"furthest behind: 10.0.0.9:6881 (12% at 300 KiB/s)"}},
		{"seed that waits for mirrors", fetching, []string{"0% after 1m15s, 0 B/s from mirrors and 0 peers; waited 1m15s for mirrors"}},
		{"seed at its limit for mirrors", held, []string{"50% after 10s, 1.0 MiB/s from mirrors and 0 peers; waited 1s for the wan_down limit; moved 9s: 100% at the wan_down limit"}},
		{"leaf that passes it on", passing, []string{"sent 0.15 copies, 1.0 MiB/s to 2 peers"}},
		{"idle", idle, nil},
	} {
		if got := explain(&c.r); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}
