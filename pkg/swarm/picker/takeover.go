package picker

import (
	"slices"
	"time"
)

const (
	// hangTime is after how long without a byte one who fetches counts as hanging.
	hangTime = 2 * time.Second
	// helpTime is how much longer than needed something may take before it is
	// taken over: about as long as what is under way to the other takes, which
	// would come twice.
	helpTime = time.Second
)

func (f *fetchState) hangs(now time.Duration) bool { return now-f.moved > hangTime }

// takeOver reserves pieces that another has claimed, or that fall to it, and that
// it will need much longer for than this node, which has nothing else to fetch:
// those that it comes to last. Of several who could help, each takes what falls
// to it when the slow one is left out.
func (p *Picker) takeOver(s *prospect, limit int, now time.Duration) (first, n int) {
	pe, last, most := p.slowest(s, now)
	if pe == nil {
		return 0, 0
	}
	for first = last; n < min(limit, most) && first >= 0 && s.inherits(first, pe); first-- {
		p.reserve(first)
		pe.unclaim(first)
		p.shares.Taken++
		n++
	}
	return last - n + 1, n
}

// inherits reports whether the piece is one of the peer's, and this node's when
// that is left out.
func (s *prospect) inherits(i int, pe *Peer) bool {
	return s.loose.has(i) && !s.held.has(i) && (pe.fetch.claims.has(i) || s.rest.has(i) && s.owner(i, nil) == pe) && s.owner(i, pe) == nil
}

// last is the piece that will come last of those that this node would inherit
// from the peer: one that is not claimed yet, else the one that was claimed last;
// -1 when there is none.
func (s *prospect) last(pe *Peer) int {
	last := -1
	for i, owner := range s.owners(s.rest) {
		if owner == pe && s.inherits(i, pe) {
			last = i
		}
	}
	if last >= 0 {
		return last
	}
	f := pe.fetch
	for len(f.order) > 0 && !f.claims.has(f.order[len(f.order)-1]) {
		f.order = f.order[:len(f.order)-1]
	}
	for _, i := range slices.Backward(f.order) {
		if f.claims.has(i) && s.inherits(i, pe) {
			return i
		}
	}
	return -1
}

// slowest is the peer that will need the longest for what it has claimed and what
// falls to it, of those of whom it is worth taking something over: from which
// piece on, and how many.
func (p *Picker) slowest(s *prospect, now time.Duration) (worst *Peer, last, most int) {
	falls := map[*Peer]int{}
	for _, owner := range s.owners(s.rest) {
		falls[owner]++
	}
	var longest float64
	for _, pe := range p.peers {
		f := pe.fetch
		if f == nil || f.n+falls[pe] == 0 {
			continue
		}
		n := f.n + falls[pe]
		bytes := float64(n) * float64(p.cfg.PieceLength)
		theirs := f.needs(bytes, now)
		ours := bytes / p.ownPace(now)
		if theirs <= helpTime.Seconds()+1.5*ours || theirs <= longest {
			continue
		}
		if i := s.last(pe); i >= 0 {
			longest, worst, last = theirs, pe, i
			most = max(1, int(float64(n)*theirs/(theirs+ours)))
		}
	}
	return worst, last, most
}

// needs is in how many seconds so many bytes can be expected of it.
func (f *fetchState) needs(bytes float64, now time.Duration) float64 {
	t := bytes / max(f.rate.At(now), 1)
	if f.got == 0 {
		t = bytes / f.pace(now)
	}
	if f.hangs(now) {
		t = max(t, 2*(now-f.moved).Seconds())
	}
	return t
}
