package picker

import "time"

// One copy of the content is to come over the long links of all who fetch from
// mirrors in a datacenter. What is missing is of three kinds for one of them:
//
//	open    nobody has it and nobody fetches it: to be claimed now
//	theirs  another has claimed it, and will bring it
//	held    a peer has it, and will bring it
//
// Each takes its runs one behind the other. Where it meets what is not open it
// goes on inside of another long stretch that is, at a place of its own. When
// nothing is open it may help those who are slow (takeOver), and at last itself
// fetch what peers have and do not bring.

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

// prospect is what may be claimed at one moment.
type prospect struct {
	loose  bitset // what is missing and not under way to here
	held   bitset // of it, what peers have and bring
	theirs bitset // what others have claimed
	mine   bitset // what is open and falls to this node
	rest   bitset // what is open and falls to another
	rivals []rival
}

// look finds out what may be claimed now. The answer is good until the next call.
func (p *Picker) look(now time.Duration) *prospect {
	s := &p.prospect
	s.loose = append(s.loose[:0], p.free...)
	for i := range p.active {
		s.loose.clear(i)
	}
	s.held = p.held(s.held, s.loose, now)
	s.theirs = p.theirs(s.theirs)
	s.rivals = p.rivals(s.rivals[:0], now)
	s.mine = append(s.mine[:0], s.loose...)
	s.mine.remove(s.held)
	s.mine.remove(s.theirs)
	p.divide(s)
	return s
}

// claimShare is Claim with OneCopy.
func (p *Picker) claimShare(limit int, now time.Duration) (first, n int, taken bool) {
	p.settle()
	if p.Claimed() == 0 {
		p.own.moved = now
	}
	s := p.look(now)
	if first, n = p.claimOpen(s, limit); n > 0 {
		p.idleSince = 0
		return first, n, false
	}
	if first, n = p.takeOver(s, limit, now); n > 0 {
		p.idleSince = 0
		return first, n, true
	}
	if p.idleSince == 0 {
		p.idleSince = max(1, now)
	}
	if p.swarmFails(s, now) {
		first, n = p.claimHeld(s, limit)
	}
	return first, n, false
}

// claimOpen reserves pieces that are open and fall to this node.
func (p *Picker) claimOpen(s *prospect, limit int) (first, n int) {
	if first, n = p.claimRun(s.mine, limit); n > 0 {
		return first, n
	}
	return p.claimOrphan(union(s.held, s.theirs))
}

// claimHeld reserves pieces that peers have and do not bring.
func (p *Picker) claimHeld(s *prospect, limit int) (first, n int) {
	first, n = p.claimRun(minus(s.loose, s.theirs), limit)
	p.shares.Held += n
	if n > 0 {
		return first, n
	}
	return p.claimOrphan(s.theirs)
}

// claimOrphan reserves a piece that was begun and left, if there is one that is
// not to be spared.
func (p *Picker) claimOrphan(spare bitset) (first, n int) {
	i := p.dropOrphan(spare)
	if i < 0 {
		return 0, 0
	}
	p.reserve(i)
	return i, 1
}

// claimableNow reports whether a Claim that got nothing might get something now.
func (p *Picker) claimableNow(now time.Duration) bool {
	s := p.look(now)
	if !s.mine.empty() || p.orphaned(union(s.held, s.theirs)) {
		return true
	}
	if v, _, _ := p.slowest(s, now); v != nil {
		return true
	}
	return p.swarmFails(s, now) && (!minus(s.loose, s.theirs).empty() || p.orphaned(s.theirs))
}

// settle chooses where to begin: with others, each at the start of its part.
func (p *Picker) settle() {
	if p.settled {
		return
	}
	p.settled = true
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

// held are those of the loose pieces that some peer has and can be expected to
// bring, in the given memory.
func (p *Picker) held(m, loose bitset, now time.Duration) bitset {
	m = append(m[:0], loose...)
	// What is left to find, by the words that it is in: of what a seed lacks its
	// leaves have little.
	words := p.words[:0]
	for w := range m {
		if m[w] &= p.had[w]; m[w] != 0 {
			words = append(words, w)
		}
	}
	p.words = words
	for _, pe := range p.peers {
		if len(words) == 0 {
			break
		}
		if pe.count == 0 || !pe.brings(now) {
			continue
		}
		left := words[:0]
		for _, w := range words {
			if m[w] &^= pe.have[w]; m[w] != 0 {
				left = append(left, w)
			}
		}
		words = left
	}
	// m is now what is had by those only who do not bring it.
	for w := range m {
		m[w] = loose[w] & p.had[w] &^ m[w]
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
func (p *Picker) swarmFails(s *prospect, now time.Duration) bool {
	if p.idleSince == 0 || now-p.idleSince < newcomer {
		return false
	}
	n := float64(count(s.held)+len(p.active)) * float64(p.cfg.PieceLength)
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
