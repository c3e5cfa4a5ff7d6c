package picker

import (
	"iter"
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

// ownPace is the pace of this node. While it has claimed nothing, that nothing
// comes says nothing.
func (p *Picker) ownPace(now time.Duration) float64 {
	if p.own.got == 0 && p.Claimed() == 0 {
		return usualRate
	}
	return p.own.pace(now)
}

// competes reports whether the peer fetches what is fetched here.
func (pe *Peer) competes(p *Picker) bool { return pe.fetch != nil && pe.count < p.cfg.Pieces }

// contended reports whether others may claim pieces too.
func (p *Picker) contended() bool {
	return p.cfg.Contended || slices.ContainsFunc(p.peers, func(pe *Peer) bool { return pe.competes(p) })
}

// rival is one of those between whom the last pieces are divided. peer is nil
// for this node.
type rival struct {
	peer *Peer
	id   uint64
	pace float64 // bytes a second
}

// rivals are this node and all peers that fetch, behind dst.
func (p *Picker) rivals(dst []rival, now time.Duration) []rival {
	dst = append(dst, rival{nil, p.cfg.ID, p.ownPace(now)})
	for _, pe := range p.peers {
		if pe.competes(p) && !pe.fetch.hangs(now) {
			dst = append(dst, rival{pe, pe.fetch.id, pe.fetch.pace(now)})
		}
	}
	return dst
}

// together is what all bring, in bytes a second.
func together(rivals []rival) (sum float64) {
	for _, r := range rivals {
		sum += r.pace
	}
	return sum
}

// divide moves those of the open pieces that fall to others from mine to rest,
// when they are the last. Before that all are anybody's.
func (p *Picker) divide(s *prospect) {
	s.rest = append(s.rest[:0], s.mine...)
	clear(s.rest)
	if len(s.rivals) < 2 || float64(count(s.mine))*float64(p.cfg.PieceLength) > together(s.rivals)*splitTime.Seconds() {
		return
	}
	for i, owner := range s.owners(s.mine) {
		if owner != nil {
			s.rest.set(i)
		}
	}
	s.mine.remove(s.rest)
}

// owners are the pieces of the set, in order, with whom each falls to.
func (s *prospect) owners(set bitset) iter.Seq2[int, *Peer] {
	return func(yield func(int, *Peer) bool) {
		of, owner := -1, (*Peer)(nil)
		for i := range set.members() {
			if i/splitRun != of {
				of = i / splitRun
				owner = s.owner(i, nil)
			}
			if !yield(i, owner) {
				return
			}
		}
	}
}

// owner is the peer that the piece falls to, or would fall to if there were not
// the one to leave out; nil is this node.
func (s *prospect) owner(i int, without *Peer) (owner *Peer) {
	// Of exponential variables with the rates as parameters each is the smallest
	// as often as its rate is of the sum.
	least := math.Inf(1)
	for _, r := range s.rivals {
		if without != nil && r.peer == without {
			continue
		}
		u := (float64(weigh(r.id, i/splitRun)>>11) + 1) / (1 << 53)
		if d := -math.Log(u) / r.pace; d < least {
			least, owner = d, r.peer
		}
	}
	return owner
}
