package picker

import (
	"math"
	"slices"
	"time"
)

// The last pieces are divided beforehand between all who fetch. What they tell
// each other is under way for a while, on a busy network for a tenth of a second,
// and so many pieces as come in that time would be claimed by two. Each works out
// by itself whose a piece is: by a hash that gives everybody a part as large as
// its part of the rate of all (weighted rendezvous hashing). Where they differ
// about the rates, a few pieces are claimed twice, or by nobody until somebody
// helps.

const (
	// splitTime is for how long all together can go on fetching what is open when
	// they begin to divide it, and splitRun how many pieces fall together to one.
	splitTime = 700 * time.Millisecond
	splitRun  = 4
	// usualRate is that of one of whom nothing has come yet, in bytes a second.
	usualRate = 20 * mib
)

// pace is how many bytes a second can be expected of it.
func (f *fetchState) pace(now time.Duration) float64 {
	switch {
	case f.got == 0 && now-f.moved < hangTime:
		return usualRate
	case f.got == 0:
		return kib
	}
	return max(f.mean(), kib)
}

// competes reports whether the peer fetches what is fetched here.
func (pe *Peer) competes(p *Picker) bool { return pe.fetch != nil && pe.count < p.cfg.Pieces }

// contended reports whether others may claim pieces too.
func (p *Picker) contended() bool {
	return p.cfg.Contended || slices.ContainsFunc(p.peers, func(pe *Peer) bool { return pe.competes(p) })
}

// divide parts the open pieces, when they are the last, into those that fall to
// this node and the rest. Before that all are anybody's.
func (p *Picker) divide(open bitset, now time.Duration) (mine, rest bitset) {
	all := p.own.pace(now)
	shared := false
	for _, pe := range p.peers {
		if pe.competes(p) && !pe.fetch.hangs(now) {
			all += pe.fetch.pace(now)
			shared = true
		}
	}
	rest = newBitset(p.cfg.Pieces)
	if !shared || float64(count(open))*float64(p.cfg.PieceLength) > all*splitTime.Seconds() {
		return open, rest
	}
	mine = newBitset(p.cfg.Pieces)
	for at := range open.runs() {
		for i := at.first; i < at.first+at.n; i++ {
			if p.owner(i, nil, now) == nil {
				mine.set(i)
			} else {
				rest.set(i)
			}
		}
	}
	return mine, rest
}

// owner is the peer that the piece falls to, or would fall to if there were not
// the one to leave out; nil is this node.
func (p *Picker) owner(i int, without *Peer, now time.Duration) (owner *Peer) {
	// Of exponential variables with the rates as parameters each is the smallest
	// as often as its rate is of the sum.
	draw := func(f *fetchState) float64 {
		u := (float64(weigh(f.id, i/splitRun)>>11) + 1) / (1 << 53)
		return -math.Log(u) / f.pace(now)
	}
	least := draw(&p.own)
	for _, pe := range p.peers {
		if pe == without || !pe.competes(p) || pe.fetch.hangs(now) {
			continue
		}
		if d := draw(pe.fetch); d < least {
			least, owner = d, pe
		}
	}
	return owner
}
