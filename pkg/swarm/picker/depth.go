package picker

import "time"

const (
	kib = 1 << 10
	mib = 1 << 20

	// depthFloor keeps a slow peer's pipe from spiralling down to one block:
	// rate times time alone measures its own smallness. With half of it some
	// leaf of a swarm always straggled.
	depthFloor = 64 * kib
	// depthCap is enough for a peer in the same building at any rate up to some
	// 4 Gbit/s; what is longer does not fit a processor's cache any more, and
	// cost a tenth of its time.
	depthCap = 2 * mib
	// stockFloor is the floor for clients that answer requests in pulses of up
	// to half a second, as transmission does: with 64 KiB it sends 128 KiB/s on
	// any link.
	stockFloor = 512 * kib
	// depthFast is the cap where links are faster still, or far.
	depthFast = 16 * mib
	// minRequests is into how many requests a queue is divided at least: with
	// fewer the peer's pipe would run dry between two of them.
	minRequests = 8
)

// depthTime is what a queue holds, in time at the peer's rate, up to depthCap;
// fastTime what it holds beyond.
const (
	depthTime = 100 * time.Millisecond
	fastTime  = 4 * time.Millisecond
)

// Depth is how many bytes should be asked of a peer and not yet have come,
// when it sends rate bytes a second and has never answered faster than base:
// 100 ms of the rate, or two times base where that is longer, and half of floor,
// at least floor; at most 2 MiB, or 4 ms of the rate or two times base where they
// hold more, and never more than 16 MiB. Short queues let the choice of the next
// piece wait until the swarm is known better. The half of floor is what makes a rate grow:
// where an answer takes 100 ms, since others' blocks stand before it, a queue of
// 100 ms brings just the rate that it was made for, however much the link could.
func Depth(rate float64, base time.Duration, floor int) int {
	ahead := max(depthTime, 2*base).Seconds()
	limit := max(depthCap, min(depthFast, int(rate*max(fastTime, 2*base).Seconds())))
	return max(floor, min(limit, int(rate*ahead)+floor/2))
}

// flow is what comes from all peers together.
type flow struct {
	rate  Rate
	peers int // that could be asked
	// peak is the highest rate of late, in bytes a second. A peak and not the
	// rate, which falls with what is asked: the two would spiral down together.
	peak   float64
	peakAt time.Duration
}

const (
	// peakTime is how long a peak counts in full; then it halves.
	peakTime = 10 * time.Second
	// flowTime is what the floors of all peers may be together, in time at the
	// peak. More of it stands in queues before a link that is full: with many
	// peers on a slow link it was seconds, packets were dropped, and some
	// connection always waited for a retransmission time-out.
	flowTime = 500 * time.Millisecond
	// flowLeast is what they may be together whatever the rate.
	flowLeast = 512 * kib
)

// update takes in the present state, some ten times a second.
func (f *flow) update(peers int, now time.Duration) {
	f.peers = peers
	if now-f.peakAt > peakTime {
		f.peak, f.peakAt = f.peak/2, now
	}
	if rate := f.rate.At(now); rate >= f.peak {
		f.peak, f.peakAt = rate, now
	}
}

// floor is what should be under way from each peer at least: depthFloor, or a
// fair share where the link is too slow for so many of them, but always a block,
// since every holder is asked.
func (f *flow) floor() int {
	all := max(flowLeast, int(f.peak*flowTime.Seconds()))
	return max(BlockSize, min(depthFloor, all/max(1, f.peers)))
}

// depth is how many bytes should be under way from the peer.
func (p *Picker) depth(pe *Peer, now time.Duration) int {
	if p.yields {
		return BlockSize
	}
	if p.without(ShortQueues) {
		return depthCap
	}
	d := Depth(pe.rate.At(now), pe.base, p.flow.floor())
	if pe.stock {
		d = max(d, stockFloor)
	}
	return d
}
