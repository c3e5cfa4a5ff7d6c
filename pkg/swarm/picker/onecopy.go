package picker

import (
	"math/bits"
	"time"
)

// One copy of the content is to come over the long links of all who fetch from
// mirrors in a datacenter. What is missing is of three kinds for one of them:
//
//	open    nobody has it and nobody fetches it: to be claimed now
//	theirs  another has claimed it, and will bring it
//	held    a peer has it, and will bring it
//
// Each takes its runs one behind the other. Where it meets what is not open it
// goes on inside of another long stretch that is, at a place of its own. When nothing is open it may help
// those who are slow (takeOver), and at last itself fetch what peers have and do
// not bring.

// Times after which the swarm is not relied on.
const (
	// newcomer is how long a peer counts as one that brings what it has before
	// it has shown that it does, and reliable how long it may leave requests
	// unanswered.
	newcomer = 2 * time.Second
	reliable = 3 * time.Second
	// swarmPatience is how much longer than swarmFactor times the mirrors' way
	// the peers' way to what they have may be, before it is fetched all the same:
	// long, for a busy network is no reason to pay for a second copy. A swarm that
	// brings nothing has no rate after some seconds, and is found out by that.
	swarmPatience = 15 * time.Second
	swarmFactor   = 8
)

// claimShare is Claim with OneCopy.
func (p *Picker) claimShare(limit int, now time.Duration) (first, n int, taken bool) {
	p.settle(now)
	loose := p.loose()
	held, theirs := p.held(now), p.theirs()
	spare := union(held, theirs)
	mine, rest := p.divide(minus(loose, spare), now)
	if first, n = p.claimRun(mine, limit); n > 0 {
		p.idleSince = 0
		return first, n, false
	}
	if i := p.dropOrphan(spare); i >= 0 {
		p.reserve(i)
		p.idleSince = 0
		return i, 1, false
	}
	if first, n = p.takeOver(minus(loose, held), rest, limit, now); n > 0 {
		p.idleSince = 0
		return first, n, true
	}
	if p.idleSince == 0 {
		p.idleSince = max(1, now)
	}
	if p.swarmFails(held, now) {
		first, n = p.claimRun(minus(loose, theirs), limit)
		p.shares.Held += n
		if n == 0 {
			if i := p.dropOrphan(theirs); i >= 0 {
				p.reserve(i)
				return i, 1, false
			}
		}
	}
	return first, n, false
}

// claimableNow reports whether a Claim that got nothing might get something now.
func (p *Picker) claimableNow(now time.Duration) bool {
	loose, held, theirs := p.loose(), p.held(now), p.theirs()
	spare := union(held, theirs)
	mine, rest := p.divide(minus(loose, spare), now)
	if count(mine) > 0 || p.orphaned(spare) {
		return true
	}
	if v, _ := p.slowest(minus(loose, held), rest, now); v != nil {
		return true
	}
	return p.swarmFails(held, now) && (count(minus(loose, theirs)) > 0 || p.orphaned(theirs))
}

// settle chooses where to begin: with others, each at the start of its part.
func (p *Picker) settle(now time.Duration) {
	if p.settled {
		return
	}
	p.settled = true
	p.own.moved = max(1, now)
	before, all := 0, 1
	for _, pe := range p.peers {
		if pe.competes(p) {
			all++
			if pe.fetch.id < p.cfg.ID {
				before++
			}
		}
	}
	if all > 1 {
		p.cursor = before * p.cfg.Pieces / all
	}
}

func (p *Picker) orphaned(spare bitset) bool {
	for _, a := range p.orphans {
		if p.free.has(a.index) && !spare.has(a.index) {
			return true
		}
	}
	return false
}

// loose are the missing pieces that are not under way to here.
func (p *Picker) loose() bitset {
	m := append(bitset(nil), p.free...)
	for i := range p.active {
		m.clear(i)
	}
	return m
}

// held are the pieces that some peer has and can be expected to bring.
func (p *Picker) held(now time.Duration) bitset {
	m := newBitset(p.cfg.Pieces)
	for _, pe := range p.peers {
		if pe.count > 0 && pe.brings(now) {
			m.add(pe.have)
		}
	}
	return m
}

// brings reports whether the peer can be relied on to send what it has.
func (pe *Peer) brings(now time.Duration) bool {
	return now-pe.since < newcomer || !pe.choked && !pe.snubbed && pe.silence(now) < reliable
}

// swarmFails reports whether what peers have is to be fetched from mirrors all
// the same: these have been idle for a while, and the swarm would take much
// longer than they.
func (p *Picker) swarmFails(held bitset, now time.Duration) bool {
	if p.idleSince == 0 || now-p.idleSince < newcomer {
		return false
	}
	n := float64(count(minus(p.free, minus(p.free, held)))) * float64(p.cfg.PieceLength)
	swarm := n / max(p.flow.rate.At(now), 1)
	mirrors := n / max(p.own.mean(), kib)
	return swarm > swarmPatience.Seconds()+swarmFactor*mirrors
}

// claimRun reserves a run of at most limit pieces of the set.
func (p *Picker) claimRun(set bitset, limit int) (first, n int) {
	first = p.place(set, limit)
	if first < 0 {
		return 0, 0
	}
	for n < limit && first+n < p.cfg.Pieces && set.has(first+n) {
		p.reserve(first + n)
		n++
	}
	p.cursor = first + n
	return first, n
}

// place is where in the set the next run begins; -1 when the set is empty.
func (p *Picker) place(set bitset, limit int) int {
	if p.cursor < p.cfg.Pieces && set.has(p.cursor) {
		return p.cursor
	}
	next, longest := -1, 0
	for at := range set.runs() {
		if next < 0 || next < p.cursor && at.first > p.cursor {
			next = at.first
		}
		longest = max(longest, at.n)
	}
	if longest < 4*limit || !p.contended() {
		return next // in the order of the files, and then what was left out
	}
	return p.within(set, longest)
}

// within is a place well inside of one of the long stretches. The ID decides
// which, and where: two who come to the end of theirs at the same moment must not
// go on at the same place.
func (p *Picker) within(set bitset, longest int) int {
	var best stretch
	for at := range set.runs() {
		if 2*at.n >= longest && (best.n == 0 || weigh(p.cfg.ID, at.first) > weigh(p.cfg.ID, best.first)) {
			best = at
		}
	}
	quarter := best.n / 4
	return best.first + quarter + int(weigh(p.cfg.ID, best.first)%uint64(2*quarter+1))
}

// stretch is n pieces from first on.
type stretch struct{ first, n int }

// runs are the members as stretches, in order.
func (b bitset) runs() func(yield func(stretch) bool) {
	return func(yield func(stretch) bool) {
		r := stretch{first: -2}
		for w, x := range b {
			for ; x != 0; x &= x - 1 {
				i := w<<6 + bits.TrailingZeros64(x)
				if r.n > 0 && i == r.first+r.n {
					r.n++
					continue
				}
				if r.n > 0 && !yield(r) {
					return
				}
				r = stretch{i, 1}
			}
		}
		if r.n > 0 {
			yield(r)
		}
	}
}

// add puts the members of o into b.
func (b bitset) add(o bitset) {
	for i, x := range o {
		b[i] |= x
	}
}

func union(a, b bitset) bitset {
	m := append(bitset(nil), a...)
	m.add(b)
	return m
}

// minus are the members of a that are not in b.
func minus(a, b bitset) bitset {
	m := append(bitset(nil), a...)
	for i, x := range b {
		m[i] &^= x
	}
	return m
}

func count(b bitset) (n int) {
	for _, x := range b {
		n += bits.OnesCount64(x)
	}
	return n
}
