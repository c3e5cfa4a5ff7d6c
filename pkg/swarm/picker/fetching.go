package picker

import (
	"math"
	"slices"
	"time"
)

// Who fetches from mirrors tells the others that do which pieces it has claimed,
// which of them it gives back, and how many bytes have come. So each knows what
// is under way to whom, and how fast, without a word of agreement: two may claim
// the same piece at the same moment, and then both know by its hash which of them
// gives it up.

// fetchState is what is known of one who fetches from mirrors.
type fetchState struct {
	id     uint64
	claims bitset
	n      int   // of claims
	order  []int // how they were claimed, oldest first, with some that are claims no more
	got    int64 // bytes received
	rate   Rate
	busy   time.Duration // in which they came
	moved  time.Duration // when something had come, or was begun
	// Of a peer. told is how many bytes it says have come since before we knew
	// it, reported whether it has said so, unproven how many have come of pieces
	// that it has not shown, and begun whether it has shown none since moved was
	// set to when it began.
	told     int64
	reported bool
	unproven int64
	begun    bool
}

// add counts n bytes that have come.
func (f *fetchState) add(n int64, now time.Duration) {
	if n <= 0 {
		return
	}
	f.rate.Add(int(min(n, 1<<30)), now)
	if f.got > 0 {
		f.busy += min(now-f.moved, hangTime)
	}
	f.got += n
	f.moved = now
}

// mean is how many bytes a second have come while something did.
func (f *fetchState) mean() float64 { return float64(f.got) / max(f.busy.Seconds(), 0.1) }

// Fetching reports whether the peer fetches from mirrors now: it has claimed
// something and gets it.
func (pe *Peer) Fetching(now time.Duration) bool {
	return pe.fetch != nil && !pe.fetch.hangs(now)
}

// Shares counts pieces that more than one who fetches has claimed, for whatever
// reason. What was under way of them came twice.
type Shares struct {
	Taken   int // taken over from another
	Crossed int // claimed by another at the same moment, or taken over by it
	Held    int // claimed here though peers have them, which did not bring them
}

// Shares are the counts so far.
func (p *Picker) Shares() Shares { return p.shares }

// Fetches notes that the peer fetches from mirrors too; id is what settles who
// of two fetches a piece that both have claimed.
func (p *Picker) Fetches(pe *Peer, id uint64, now time.Duration) {
	if pe.fetch == nil {
		pe.fetch = &fetchState{id: id, claims: newBitset(p.cfg.Pieces), moved: now}
	}
}

// TheyClaim notes which pieces the peer has claimed, which must be in range.
// With taken it has taken them over, and is right whoever else wants them.
func (p *Picker) TheyClaim(pe *Peer, first, n int, taken bool, now time.Duration) {
	f := pe.fetch
	if f == nil {
		return
	}
	if f.n == 0 && !f.begun {
		// Once only, or who claims again and again would never hang.
		f.moved, f.begun = now, true
	}
	if taken {
		p.nobodyElse(pe, first, n)
	}
	for i := first; i < first+n; i++ {
		mine := p.claimed.has(i)
		if p.have.has(i) || pe.have.has(i) || f.claims.has(i) || mine && !taken && weigh(p.cfg.ID, i) > weigh(f.id, i) {
			continue // they will see that it is here, or that it is ours
		}
		if mine {
			p.yielded = append(p.yielded, i)
			p.shares.Crossed++
		}
		f.claims.set(i)
		f.n++
		f.order = append(f.order, i)
	}
	if len(f.order) > 2*p.cfg.Pieces {
		f.prune()
	}
}

// prune leaves only the claims in the order, each where it was made last.
func (f *fetchState) prune() {
	left := append(bitset(nil), f.claims...)
	slices.Reverse(f.order)
	f.order = slices.DeleteFunc(f.order, func(i int) bool {
		keep := left.has(i)
		left.clear(i)
		return !keep
	})
	slices.Reverse(f.order)
}

// nobodyElse takes claims from all peers but one.
func (p *Picker) nobodyElse(but *Peer, first, n int) {
	for _, pe := range p.peers {
		if pe != but && pe.fetch != nil && pe.fetch.n > 0 {
			p.TheyUnclaim(pe, first, n)
		}
	}
}

// TheyUnclaim notes that the peer has given pieces back.
func (p *Picker) TheyUnclaim(pe *Peer, first, n int) {
	for i := first; i < first+n; i++ {
		pe.unclaim(i)
	}
}

func (pe *Peer) unclaim(i int) {
	if f := pe.fetch; f != nil && f.claims.has(i) {
		f.claims.clear(i)
		f.n--
	}
}

const (
	// unprovenBytes and unprovenPieces of a peer may have come without a sign of
	// the pieces that they are of: what so many connections have under way. Who
	// says that more has come counts as one of whom nothing comes.
	unprovenBytes  = 64 * mib
	unprovenPieces = 8
	// provenPart is how many pieces one that is shown vouches for: some bytes
	// come in vain.
	provenPart = 2
)

// TheyReceived notes how many bytes the peer has got from mirrors so far.
func (p *Picker) TheyReceived(pe *Peer, total int64, now time.Duration) {
	f := pe.fetch
	if f == nil {
		return
	}
	n := total - f.told
	f.told = max(f.told, total)
	if !f.reported {
		f.reported = true
		return // who knows in what time
	}
	n = min(n, unprovenBytes+unprovenPieces*p.cfg.PieceLength-f.unproven)
	f.unproven += max(0, n)
	f.add(n, now)
}

// Received notes how many bytes this node has got from mirrors so far.
func (p *Picker) Received(total int64, now time.Duration) { p.own.add(total-p.own.got, now) }

// theyHave is told that a peer has a piece: if it fetches as well, this is no
// longer to be fetched here.
func (p *Picker) theyHave(pe *Peer, i int) {
	f := pe.fetch
	if f == nil {
		return
	}
	pe.unclaim(i)
	f.begun = false
	f.unproven = max(0, f.unproven-provenPart*p.cfg.PieceLength)
	if p.claimed.has(i) {
		p.yielded = append(p.yielded, i)
	}
}

// Yielded are claimed pieces that another brings, since the last call: whoever
// claimed them here should give back those that are not under way yet.
func (p *Picker) Yielded() []int {
	y := p.yielded
	p.yielded = nil
	return slices.DeleteFunc(y, func(i int) bool { return !p.claimed.has(i) })
}

// Yielding reports whether Yielded has something to return.
func (p *Picker) Yielding() bool { return len(p.yielded) > 0 }

// ClaimedRuns are the pieces claimed here, for one who does not know them yet.
func (p *Picker) ClaimedRuns() (spans [][2]int) {
	for r := range p.claimed.runs() {
		spans = append(spans, [2]int{r.first, r.n})
	}
	return spans
}

// theirs are the pieces that others have claimed, in the given memory.
func (p *Picker) theirs(m bitset) bitset {
	m = append(m[:0], p.all...)
	clear(m)
	for _, pe := range p.peers {
		if pe.fetch != nil && pe.fetch.n > 0 {
			m.add(pe.fetch.claims)
		}
	}
	return m
}

// Share is how many bytes are for this node to fetch still, as far as can be
// told: what it has claimed, and its part of what nobody has.
func (p *Picker) Share(now time.Duration) int64 {
	s := p.look(now)
	open := float64(count(s.mine))
	if s.rest.empty() {
		open *= p.ownPace(now) / together(s.rivals)
	}
	return int64(float64(p.Claimed())+math.Ceil(open)) * p.cfg.PieceLength
}
