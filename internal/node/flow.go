package node

import (
	"cmp"
	"slices"
	"time"

	"distd/pkg/swarm"
)

// Flow is how a release moves between this node and others, and what holds it
// up. Seconds count since the release was taken up in this run of the daemon.
type Flow struct {
	// InFlight says that something is missing here, or at a peer.
	InFlight bool    `json:"in_flight"`
	Elapsed  float64 `json:"download_seconds"` // so far, or in all
	DownRate float64 `json:"down_bytes_per_second"`
	UpRate   float64 `json:"up_bytes_per_second"`
	// Waited is how long the download stood still, by what for; Moved how long it
	// moved, by what kept it from being faster: docs/operations.md has the words.
	Waited map[string]float64 `json:"waited_seconds,omitempty"`
	Moved  map[string]float64 `json:"moved_seconds,omitempty"`
	// RequestsWaited is how long peers' requests had to wait here, added up over
	// all peers.
	RequestsWaited map[string]float64 `json:"requests_waited_seconds,omitempty"`
	// SentCopies is what was sent to peers, in sizes of the release.
	SentCopies float64 `json:"sent_copies"`
	// Slowest are the peers that answer this node's requests most slowly, the worst
	// first, and few.
	Slowest []PeerFlow `json:"slowest,omitempty"`
	// Swarm is nil on a leaf, which is not told of all that its peers get.
	Swarm *SwarmFlow `json:"swarm,omitempty"`
}

// SwarmFlow is what a seed or master knows of a release's swarm.
type SwarmFlow struct {
	// CompletePeers are those known to have everything; LowestCopies is how many
	// peers have the rarest piece, MeanCopies how many have a piece on average.
	CompletePeers int     `json:"complete_peers"`
	LowestCopies  int     `json:"lowest_copies"`
	MeanCopies    float64 `json:"mean_copies"`
	// Behind are the connected peers with the fewest pieces, the worst first, and
	// few.
	Behind []PeerFlow `json:"furthest_behind,omitempty"`
}

// PeerFlow is how a release moves at one peer.
type PeerFlow struct {
	Addr string `json:"addr"`
	// Done is the part of the pieces that it has; GainRate is how fast it gets
	// them, from anybody, as far as is known here, and DownRate how fast it sends to this node, in bytes a
	// second.
	Done     float64 `json:"done"`
	GainRate float64 `json:"gain_bytes_per_second"`
	DownRate float64 `json:"down_bytes_per_second"`
	// Outstanding is how many requests it has not answered, Silent that it has
	// let them lie for too long.
	Outstanding int  `json:"outstanding"`
	Silent      bool `json:"silent,omitempty"`
}

// worstPeers is how many peers are named at most.
const worstPeers = 3

func flowOf(t swarm.Stats, size int64) Flow {
	f := Flow{Elapsed: t.Elapsed.Seconds(), DownRate: t.DownRate, UpRate: t.UpRate,
		Waited: seconds(t.Waited), Moved: seconds(t.Moved), RequestsWaited: seconds(t.RequestsWaited)}
	if size > 0 {
		f.SentCopies = float64(t.Uploaded) / float64(size)
	}
	if k := t.Copies; k != nil {
		f.Swarm = &SwarmFlow{CompletePeers: k.Complete, LowestCopies: k.Lowest, MeanCopies: k.Mean}
		f.Swarm.Behind = worst(t.Peers,
			func(p swarm.PeerStats) bool { return !p.Directed && p.Have < t.Pieces },
			func(a, b swarm.PeerStats) int {
				return cmp.Or(cmp.Compare(a.Have, b.Have), cmp.Compare(a.GainRate, b.GainRate))
			})
	}
	f.InFlight = t.BytesLeft > 0 || slices.ContainsFunc(t.Peers, func(p swarm.PeerStats) bool { return p.PeerInterested && p.Have < t.Pieces })
	if t.BytesLeft > 0 {
		f.Slowest = worst(t.Peers,
			func(p swarm.PeerStats) bool { return p.Outstanding > 0 },
			func(a, b swarm.PeerStats) int {
				return cmp.Or(cmp.Compare(flag(b.Snubbed), flag(a.Snubbed)), cmp.Compare(a.DownRate, b.DownRate))
			})
	}
	return f
}

// worst are the first few of those peers that count, in that order.
func worst(peers []swarm.PeerStats, counts func(swarm.PeerStats) bool, order func(a, b swarm.PeerStats) int) (out []PeerFlow) {
	peers = slices.DeleteFunc(slices.Clone(peers), func(p swarm.PeerStats) bool { return !counts(p) })
	slices.SortStableFunc(peers, order)
	for _, p := range peers[:min(worstPeers, len(peers))] {
		out = append(out, PeerFlow{Addr: p.Addr.String(), Done: p.Progress, GainRate: p.GainRate, DownRate: p.DownRate, Outstanding: p.Outstanding, Silent: p.Snubbed})
	}
	return out
}

func seconds(in map[string]time.Duration) map[string]float64 {
	out := make(map[string]float64, len(in))
	for why, d := range in {
		out[why] = d.Seconds()
	}
	return out
}
