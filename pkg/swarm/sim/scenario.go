package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Scenario is a swarm with a name.
type Scenario struct {
	Name string
	Config
}

const (
	mbit = 1e6 / 8
	gbit = 1e9 / 8
)

// shape is how a swarm is made: what is not said is the lab's.
type shape struct {
	leaves   int
	pieces   int
	pieceKiB int64
	rate     float64 // bytes a second
	seed     uint64
	seeds    int
}

func (sh shape) config() Config {
	c := Config{Pieces: sh.pieces, PieceLength: sh.pieceKiB * kib, Seed: sh.seed}
	for range max(1, sh.seeds) {
		c.Seeds = append(c.Seeds, Host{Up: sh.rate, Down: sh.rate})
	}
	// They come within half a second: what restarts a farm is not exact.
	apart := min(5*time.Millisecond, 500*time.Millisecond/time.Duration(max(1, sh.leaves)))
	for i := range sh.leaves {
		c.Leaves = append(c.Leaves, Host{Up: sh.rate, Down: sh.rate, Start: time.Duration(i) * apart})
	}
	return c
}

// Sizes are the numbers of leaves of Farm.
var Sizes = []int{10, 16, 100, 1000, 10000}

// pieces is how many pieces a swarm of so many leaves is run with: fewer in
// the largest, whose cost is the product.
func pieces(leaves int) int {
	switch {
	case leaves >= 10000:
		return 256
	case leaves >= 1000:
		return 512
	}
	return 1024
}

// Farm are the scenarios of one number of leaves with 50 Mbit/s each and pieces
// of 64 KiB.
func Farm(leaves int, seed uint64) []Scenario {
	sh := shape{leaves: leaves, pieces: pieces(leaves), pieceKiB: 64, rate: 50 * mbit, seed: seed}
	rng := rand.New(rand.NewPCG(seed, 2))
	equal, mixed, staggered, dying := sh.config(), sh.config(), sh.config(), sh.config()
	least := equal.Least()[0]
	for i := range leaves {
		h := &mixed.Leaves[i]
		switch {
		case i%5 == 4:
			h.Up, h.Down = h.Up/4, h.Down/4
		case i%10 == 2:
			h.Up, h.Down = 4*h.Up, 4*h.Down
		}
		staggered.Leaves[i].Start = time.Duration(rng.Int64N(int64(least)))
		if i%20 == 7 {
			dying.Leaves[i].Die = dying.Leaves[i].Start + time.Duration(rng.Int64N(int64(least)))
			dying.Leaves[i].Away = 5 * time.Second
		}
	}
	sh.seeds = 2
	two := sh.config()
	killed := sh.config()
	killed.LastSeedDies = 0.3
	halves := sh.config()
	for i := range halves.Seeds {
		halves.Seeds[i].Up /= 2
	}
	fetching := equal
	fetching.Fetching = 8
	return []Scenario{
		{"equal rates", equal}, {"mixed rates", mixed}, {"staggered starts", staggered}, {"5 % die and return", dying},
		{"two seeds", two}, {"two seeds, one dies at 30 %", killed}, {"two seeds at half the rate", halves}, {"seed still fetching", fetching},
	}
}

// Rates are swarms on cables of very different rates, and with few and many
// leaves, where the request queues have to adapt.
func Rates(seed uint64) (list []Scenario) {
	for _, r := range []struct {
		name     string
		rate     float64
		pieces   int
		pieceKiB int64
	}{{"2 Mbit/s", 2 * mbit, 256, 64}, {"50 Mbit/s", 50 * mbit, 1024, 64}, {"1 Gbit/s", gbit, 1024, 256}, {"10 Gbit/s", 10 * gbit, 1024, 1024}} {
		for _, leaves := range []int{1, 4, 16, 60} {
			sh := shape{leaves: leaves, pieces: r.pieces, pieceKiB: r.pieceKiB, rate: r.rate, seed: seed}
			c := sh.config()
			c.Mesh = 61
			list = append(list, Scenario{fmt.Sprintf("%d leaves at %s", leaves, r.name), c})
		}
	}
	return list
}
