package picker

const (
	kib = 1 << 10
	mib = 1 << 20

	// depthFloor keeps a slow peer's pipe from spiralling down to one block:
	// rate times time alone measures its own smallness. With half of it some
	// leaf of a swarm always straggled.
	depthFloor = 64 * kib
	depthCap   = mib
	// stockFloor is the floor for clients that answer requests in pulses of up
	// to half a second, as transmission does: with 64 KiB it sends 128 KiB/s on
	// any link.
	stockFloor = 512 * kib
	// depthFast is the cap on links where 25 ms hold more than depthCap.
	depthFast = 8 * mib
)

// Depth is how many bytes should be asked of a peer and not yet have come,
// when it sends rate bytes a second: 100 ms of the rate, at least 64 KiB, at
// most 1 MiB or 25 ms of the rate, and never more than 8 MiB. Short queues let
// the choice of the next piece wait until the swarm is known better.
func Depth(rate float64) int {
	limit := max(depthCap, min(depthFast, int(rate*0.025)))
	return max(depthFloor, min(limit, int(rate*0.1)))
}
