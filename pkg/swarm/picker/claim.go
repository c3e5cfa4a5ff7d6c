package picker

import "time"

// Claim reserves up to limit missing pieces in one contiguous run for a source
// that is no peer. n is 0 when there is nothing to claim now. What no peer has
// is claimed first: a seed that joins leaves which hold parts of the release
// already brings what the swarm cannot have otherwise. Pieces that some peer has
// begun and left are taken only when there are no others; their blocks are
// dropped then.
//
// With OneCopy two kinds of pieces are left alone. What others fetch (fetching.go)
// is taken over from them only when they will need much longer for it: taken is
// true then, and they are to be told. What peers have is theirs to bring, and is
// claimed only when they do not.
func (p *Picker) Claim(limit int, now time.Duration) (first, n int, taken bool) {
	if p.cfg.OneCopy {
		first, n, taken = p.claimShare(limit, now)
		p.dry = n == 0
		return first, n, taken
	}
	first, held := p.claimable()
	if first < 0 {
		first = p.dropOrphan(nil)
	}
	if first < 0 {
		return 0, 0, false
	}
	for n < limit && first+n < p.cfg.Pieces && p.free.has(first+n) && p.active[first+n] == nil && (held || p.avail[first+n] == 0) {
		p.reserve(first + n)
		n++
	}
	return first, n, false
}

func (p *Picker) reserve(i int) {
	p.take(i)
	p.claimed.set(i)
}

// claimable is the first free piece that no peer has, else the first free one,
// which peers hold; -1 when there is none.
func (p *Picker) claimable() (first int, held bool) {
	first, fallback := -1, -1
	each(p.free, p.all, 0, func(i int) bool {
		if p.active[i] != nil {
			return true
		}
		if p.avail[i] == 0 {
			first = i
			return false
		}
		if fallback < 0 {
			fallback = i
		}
		return true
	})
	if first < 0 {
		return fallback, true
	}
	return first, false
}

// dropOrphan gives up the oldest piece that waits for a peer to go on with it
// and is not among those to spare; -1 when there is none.
func (p *Picker) dropOrphan(spare bitset) int {
	for _, a := range p.orphans {
		if p.free.has(a.index) && (spare == nil || !spare.has(a.index)) {
			p.drop(a.index)
			return a.index
		}
	}
	return -1
}

// Unclaim gives back claimed pieces that did not come.
func (p *Picker) Unclaim(first, n int) {
	p.endgame = false
	for i := max(first, 0); i < first+n && i < p.cfg.Pieces; i++ {
		if p.claimed.has(i) {
			p.claimed.clear(i)
			if p.active[i] == nil || p.active[i].owner == nil && !p.active[i].full() {
				p.giveBack(i)
			}
		}
	}
}
