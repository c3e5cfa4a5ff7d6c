package sim

import (
	"math"
	"time"

	"distd/pkg/swarm/picker"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Host is a node of the swarm.
type Host struct {
	// Up and Down are the rates of its cable in bytes a second, headers included.
	Up, Down float64
	// Start is when it comes up.
	Start time.Duration
	// Die is when it goes down, 0 for never, and Away how long it is then away
	// before it comes back with the pieces that it had; 0 is for ever.
	Die, Away time.Duration
}

// Config describes a swarm. Zero values mean the defaults.
type Config struct {
	// Pieces is the number of pieces, PieceLength their length in bytes.
	Pieces      int
	PieceLength int64
	Seeds       []Host
	Leaves      []Host
	// Fetching has the first seed fetch the pieces itself, at the rate of its
	// downlink, in runs from so many places at once; 0 means that it has them.
	Fetching int
	// LastSeedDies has the last seed go down when the seeds together have sent
	// this share of the content.
	LastSeedDies float64
	// Delay is the time from one node to another (default 0.5 ms).
	Delay time.Duration
	// Mesh is up to how many nodes all connect to all (default 20). With more,
	// each leaf opens Dial connections (default 30) to any that have room, as
	// with a tracker's answer: a leaf takes LeafConns (default 60), a seed
	// SeedConns (default 300).
	Mesh, Dial, LeafConns, SeedConns int
	// Slots is how many peers a node sends blocks at once (default 16);
	// InOrder has it serve them in the order of asking.
	Slots   int
	InOrder bool
	// Lowat is how many unsent bytes a socket holds before its writer waits
	// (default 32 KiB).
	Lowat int
	// Without switches rules of the picker off.
	Without picker.Rule
	// Seed makes another run of the same swarm.
	Seed uint64
	// Limit is when a run that does not end is given up (default 40 times the
	// least time).
	Limit time.Duration
}

func (c *Config) setDefaults() {
	def(&c.Delay, 500*time.Microsecond)
	def(&c.Mesh, 20)
	def(&c.Dial, 30)
	def(&c.LeafConns, 60)
	def(&c.SeedConns, 300)
	def(&c.Slots, 16)
	def(&c.Lowat, 2*picker.BlockSize)
	if c.Limit == 0 {
		for i, least := range c.Least() {
			c.Limit = max(c.Limit, c.Leaves[i].Start+40*least+c.Leaves[i].Away)
		}
	}
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Size is the content's length in bytes.
func (c *Config) Size() int64 { return int64(c.Pieces) * c.PieceLength }

// Least is the time in which each leaf could have the content at best, headers
// not counted: it must receive it, the seeds must send it once, and all uplinks
// together must carry it to every leaf. Where all uplinks are equal and all
// begin at once, the last piece still has to spread, doubling its copies with each
// piece's time: log2 N of them.
func (c *Config) Least() []time.Duration {
	size := float64(c.Size())
	seeds, leaves, equal := 0.0, 0.0, len(c.Seeds) == 1
	for _, h := range c.Seeds {
		seeds += h.Up
	}
	for _, h := range c.Leaves {
		leaves += h.Up
		equal = equal && h == c.Leaves[0].at(h.Start) && h.Up == h.Down && h.Up == seeds
	}
	n := float64(len(c.Leaves))
	all := max(size/seeds, n*size/(seeds+leaves))
	if equal {
		all = max(all, size/seeds*(1+math.Log2(n)/float64(c.Pieces)))
	}
	each := make([]time.Duration, len(c.Leaves))
	for i, h := range c.Leaves {
		each[i] = seconds(max(all, size/h.Down))
	}
	return each
}

// at is the same host with another start.
func (h Host) at(start time.Duration) Host {
	h.Start = start
	return h
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
