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
}

// Fetching reports whether the peer fetches from mirrors now: it has claimed
// something and gets it.
func (pe *Peer) Fetching(now time.Duration) bool {
	return pe.fetch != nil && now-pe.fetch.moved < hangTime
}

// received notes that total bytes have come so far.
func (f *fetchState) received(total int64, now time.Duration) {
	if total <= f.got {
		return
	}
	f.rate.Add(int(min(total-f.got, 1<<30)), now)
	if f.got > 0 {
		f.busy += min(now-f.moved, hangTime)
	}
	f.got, f.moved = total, now
}

// mean is how many bytes a second have come while something did.
func (f *fetchState) mean() float64 { return float64(f.got) / max(f.busy.Seconds(), 0.1) }

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
		pe.fetch = &fetchState{id: id, claims: newBitset(p.cfg.Pieces), moved: max(1, now)}
	}
}

// TheyClaim notes which pieces the peer has claimed, which must be in range.
// With taken it has taken them over, and is right whoever else wants them.
func (p *Picker) TheyClaim(pe *Peer, first, n int, taken bool, now time.Duration) {
	f := pe.fetch
	if f == nil {
		return
	}
	if f.n == 0 {
		f.moved = max(1, now)
	}
	for i := first; i < first+n; i++ {
		if taken {
			p.nobodyElse(pe, i)
		}
		mine := p.claimed.has(i)
		if p.have.has(i) || f.claims.has(i) || mine && !taken && weigh(p.cfg.ID, i) > weigh(f.id, i) {
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
		f.order = slices.DeleteFunc(f.order, func(i int) bool { return !f.claims.has(i) })
	}
}

// nobodyElse takes a claim from all peers but one.
func (p *Picker) nobodyElse(but *Peer, i int) {
	for _, pe := range p.peers {
		if pe != but {
			pe.unclaim(i)
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

// TheyReceived notes how many bytes the peer has got from mirrors so far.
func (p *Picker) TheyReceived(pe *Peer, total int64, now time.Duration) {
	if pe.fetch != nil {
		pe.fetch.received(total, now)
	}
}

// Received notes how many bytes this node has got from mirrors so far.
func (p *Picker) Received(total int64, now time.Duration) { p.own.received(total, now) }

// theyHave is told that a peer has a piece: if it fetches as well, this is no
// longer to be fetched here.
func (p *Picker) theyHave(pe *Peer, i int) {
	if pe.fetch == nil {
		return
	}
	pe.unclaim(i)
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

// theirs are the pieces that others have claimed.
func (p *Picker) theirs() bitset {
	m := newBitset(p.cfg.Pieces)
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
	mine, rest := p.divide(minus(p.loose(), union(p.held(now), p.theirs())), now)
	open := float64(count(mine))
	if count(rest) == 0 {
		all := p.own.pace(now)
		for _, pe := range p.peers {
			if pe.competes(p) && !pe.fetch.hangs(now) {
				all += pe.fetch.pace(now)
			}
		}
		open *= p.own.pace(now) / all
	}
	return int64(float64(p.Claimed())+math.Ceil(open)) * p.cfg.PieceLength
}

const (
	// hangTime is after how long without a byte one who fetches counts as hanging.
	hangTime = 2 * time.Second
	// helpTime is how much longer than needed something may take before it is
	// taken over: about as long as what is under way to the other takes, which
	// would come twice.
	helpTime = time.Second
)

func (f *fetchState) hangs(now time.Duration) bool { return now-f.moved > hangTime }

// takeOver reserves pieces that another has claimed, or that fall to it (rest),
// and that it will need much longer for than this node, which has nothing else to
// fetch: those that it comes to last. loose are the pieces that may be taken. Of
// several who could help, each takes what falls to it when the slow one is left
// out.
func (p *Picker) takeOver(loose, rest bitset, limit int, now time.Duration) (first, n int) {
	pe, most := p.slowest(loose, rest, now)
	if pe == nil {
		return 0, 0
	}
	may := p.heirloom(pe, loose, rest, now)
	last := pe.fetch.last(may, rest)
	if last < 0 {
		return 0, 0
	}
	for first = last; n < min(limit, most) && first >= 0 && may(first); first-- {
		p.reserve(first)
		pe.unclaim(first)
		p.shares.Taken++
		n++
	}
	return last - n + 1, n
}

// heirloom says which pieces of the peer's this node may take over.
func (p *Picker) heirloom(pe *Peer, loose, rest bitset, now time.Duration) func(i int) bool {
	return func(i int) bool {
		return loose.has(i) && (pe.fetch.claims.has(i) || rest.has(i) && p.owner(i, nil, now) == pe) && p.owner(i, pe, now) == nil
	}
}

// last is the piece that will come last of those that may be taken: one that is
// not claimed yet, else the one that was claimed last; -1 when there is none.
func (f *fetchState) last(may func(int) bool, rest bitset) int {
	last := -1
	for at := range rest.runs() {
		for i := at.first; i < at.first+at.n; i++ {
			if may(i) {
				last = i
			}
		}
	}
	f.order = slices.DeleteFunc(f.order, func(i int) bool { return !f.claims.has(i) })
	for k := len(f.order) - 1; k >= 0 && last < 0; k-- {
		if may(f.order[k]) {
			last = f.order[k]
		}
	}
	return last
}

// slowest is the peer that will need the longest for what it has claimed and what
// falls to it, if it is worth taking something of that over, and how many pieces
// of it.
func (p *Picker) slowest(loose, rest bitset, now time.Duration) (worst *Peer, most int) {
	open := map[*Peer]int{}
	for at := range rest.runs() {
		for i := at.first; i < at.first+at.n; i++ {
			if loose.has(i) {
				open[p.owner(i, nil, now)]++
			}
		}
	}
	var longest float64
	for _, pe := range p.peers {
		f := pe.fetch
		if f == nil || f.n+open[pe] == 0 || f.last(p.heirloom(pe, loose, rest, now), rest) < 0 {
			continue
		}
		n := f.n + open[pe]
		bytes := float64(n) * float64(p.cfg.PieceLength)
		theirs := bytes / max(f.rate.At(now), 1)
		if f.got == 0 {
			theirs = bytes / f.pace(now)
		}
		if f.hangs(now) {
			theirs = max(theirs, 2*(now-f.moved).Seconds())
		}
		ours := bytes / p.own.pace(now)
		if theirs > helpTime.Seconds()+1.5*ours && theirs > longest {
			longest, worst = theirs, pe
			most = max(1, int(float64(n)*theirs/(theirs+ours)))
		}
	}
	return worst, most
}
