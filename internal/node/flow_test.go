package node

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"distd/internal/manifest"
	"distd/pkg/swarm"
)

// halfway is a torrent on its way, with more peers than are named.
func halfway() swarm.Stats {
	peer := func(port uint16, have int, p swarm.PeerStats) swarm.PeerStats {
		p.Addr, p.Have, p.Progress = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), have, float64(have)/10
		return p
	}
	return swarm.Stats{
		Have: 5, Pieces: 10, BytesLeft: 500, Uploaded: 250, Elapsed: 3 * time.Second,
		Waited: map[string]time.Duration{swarm.HeldDisk: time.Second}, Moved: map[string]time.Duration{swarm.HeldPeers: 2 * time.Second},
		Copies: &swarm.Copies{Complete: 1, Lowest: 1, Mean: 2.5},
		Peers: []swarm.PeerStats{
			peer(1, 10, swarm.PeerStats{DownRate: 900, Outstanding: 2}),
			peer(2, 2, swarm.PeerStats{Directed: true, DownRate: 800, Outstanding: 2}),
			peer(3, 4, swarm.PeerStats{PeerInterested: true}),
			peer(4, 3, swarm.PeerStats{DownRate: 100, Outstanding: 1}),
			peer(5, 9, swarm.PeerStats{DownRate: 500, Outstanding: 1, Snubbed: true}),
			peer(6, 1, swarm.PeerStats{}),
		},
	}
}

func ports(ps []PeerFlow) (out []string) {
	for _, p := range ps {
		out = append(out, p.Addr[len(p.Addr)-1:])
	}
	return out
}

func TestFlowNamesTheWorstPeers(t *testing.T) {
	f := flowOf(halfway(), 1000)
	if d := cmp.Diff([]string{"6", "4", "3"}, ports(f.Swarm.Behind)); d != "" {
		t.Errorf("furthest behind, a directing seed and complete peers left out:\n%s", d)
	}
	if d := cmp.Diff([]string{"5", "4", "2"}, ports(f.Slowest)); d != "" {
		t.Errorf("slowest to answer, the silent ones first:\n%s", d)
	}
	if f.SentCopies != 0.25 || !f.InFlight || f.Elapsed != 3 || f.Waited["disk"] != 1 || f.Moved["peers"] != 2 {
		t.Errorf("flow %+v", f)
	}
	done := halfway()
	done.BytesLeft = 0
	if f := flowOf(done, 1000); !f.InFlight || len(f.Slowest) > 0 {
		t.Errorf("with a peer that wants the rest: %+v", f)
	}
	done.Peers, done.Copies = done.Peers[:2], nil
	if f := flowOf(done, 1000); f.InFlight || f.Swarm != nil {
		t.Errorf("with nothing missing anywhere: %+v", f)
	}
}

// TestFlowMetrics: the series of a release are few, whatever the peers.
func TestFlowMetrics(t *testing.T) {
	got := func(r ReleaseStatus) map[string]int {
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(flowCollector{&r})
		fs, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, f := range fs {
			n[f.GetName()] = len(f.GetMetric())
		}
		return n
	}
	r := ReleaseStatus{Channel: "web", Name: "site", Serial: 1, Flow: flowOf(halfway(), 1000)}
	want := map[string]int{
		"distd_release_waited_seconds_total": 1, "distd_release_moved_seconds_total": 1, "distd_release_sent_copies": 1,
		"distd_release_complete_peers": 1, "distd_release_rarest_piece_copies": 1,
		"distd_release_behind_peer_done_ratio": worstPeers, "distd_release_slow_peer_bytes_per_second": worstPeers,
	}
	if d := cmp.Diff(want, got(r)); d != "" {
		t.Errorf("series of a release in flight:\n%s", d)
	}
	r.Flow = Flow{SentCopies: 3}
	if d := cmp.Diff(map[string]int{"distd_release_sent_copies": 1}, got(r)); d != "" {
		t.Errorf("series of one that is not:\n%s", d)
	}
}

type flowCollector struct{ r *ReleaseStatus }

func (c flowCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }
func (c flowCollector) Collect(ch chan<- prometheus.Metric) { collectFlow(ch, c.r) }

// TestNewerIsByTime: serials of different channels say nothing about which
// release is newer.
func TestNewerIsByTime(t *testing.T) {
	made := func(serial uint64, s int64) uint64 {
		return newness(&manifest.Manifest{Serial: serial, Created: time.Unix(s, 0)})
	}
	if made(3, 2000) <= made(900, 1000) {
		t.Error("a release with a lower serial and a later time is not the newer one")
	}
	if made(1, -5) != 0 || made(1, math.MaxUint32+1) <= made(1, 5) {
		t.Error("times long ago or far ahead are out of order")
	}
}
