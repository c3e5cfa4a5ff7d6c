package picker

import "time"

const (
	// tailPatience is how long an owner may still need for its piece before
	// another peer is asked for the same blocks: short when nothing else is
	// left to do, long while the swarm still brings new pieces.
	tailPatience = 100 * time.Millisecond
	slowPatience = 3 * time.Second
	// tailDepth bounds what is asked twice of one peer.
	tailDepth = 64 * kib
	// maxAsked is how many peers may be asked for one block.
	maxAsked = 2
)

// tail asks an idle peer for blocks that another peer is slow to send. It is
// the only place where bytes may come twice, so it waits for the very end, or
// for an owner that is hopelessly slow.
func (p *Picker) tail(pe *Peer, now time.Duration, depth, room int, dst []Request) []Request {
	if pe.snubbed || p.without(TailTwice) {
		return dst
	}
	patience := slowPatience
	if p.Endgame() {
		patience = tailPatience
	}
	depth = min(depth, tailDepth)
	for _, a := range p.order {
		if pe.outBytes >= depth || len(pe.out) >= pe.limit {
			return dst
		}
		if a.full() || a.owner == pe || !pe.may(a.index) || !p.slower(a, pe, now, patience) {
			continue
		}
		if p.single.has(a.index) {
			p.steal(a, pe)
			dst = p.rest(a, pe, now, depth, dst)
		} else {
			dst = p.double(a, pe, now, depth, dst)
		}
	}
	if p.Endgame() && room > len(p.active) && pe.outBytes < depth {
		dst = p.takeClaimed(pe, now, depth, dst)
	}
	return dst
}

// Help asks the peer for blocks of pieces that others are fetching and have not
// asked for yet. It is for when there is no room to begin another piece: better
// a piece from two peers than an idle one.
func (p *Picker) Help(pe *Peer, now time.Duration, dst []Request) []Request {
	if pe.snubbed || pe.choked {
		return dst
	}
	depth := min(p.depth(pe, now), tailDepth)
	for _, a := range p.order {
		if a.full() || a.owner == pe || !pe.may(a.index) || p.single.has(a.index) {
			continue
		}
		dst = p.rest(a, pe, now, depth, dst)
	}
	return dst
}

// slower reports whether the owner of a piece will need longer for the rest of
// it than the peer would, by more than a little.
func (p *Picker) slower(a *piece, pe *Peer, now, patience time.Duration) bool {
	if a.owner == nil {
		return true
	}
	// One that has been silent will be so for as long again, whatever its rate
	// was.
	own := max(a.owner.eta(a.left()+a.owner.outBytes, now), 2*a.owner.silence(now))
	return own > patience && own > 2*pe.eta(a.left()+pe.outBytes, now)
}

// silence is how long the peer has left its requests unanswered.
func (pe *Peer) silence(now time.Duration) time.Duration {
	if len(pe.out) == 0 {
		return 0
	}
	return now - max(pe.lastBlock, pe.out[0].at)
}

// eta is how long the peer needs for n bytes at its present rate. A peer that
// has sent nothing yet is taken for one of 1 MiB/s.
func (pe *Peer) eta(n int, now time.Duration) time.Duration {
	rate := pe.rate.At(now)
	if !pe.rate.begun {
		rate = mib
	}
	return time.Duration(float64(n) / max(rate, kib) * float64(time.Second))
}

// double asks for the blocks of a piece from its end, where the owner comes
// last.
func (p *Picker) double(a *piece, pe *Peer, now time.Duration, depth int, dst []Request) []Request {
	for b := len(a.got) - 1; b >= 0 && pe.outBytes < depth && len(pe.out) < pe.limit; b-- {
		if a.got[b] || a.asked[b] >= maxAsked || pe.asked(a.index, b) {
			continue
		}
		dst = p.ask(pe, a, b, 1, now, dst)
	}
	return dst
}

// asked reports whether the peer has a request that names the block.
func (pe *Peer) asked(piece, block int) bool {
	at := block * BlockSize
	for _, o := range pe.out {
		if o.Piece == piece && o.Begin <= at && at < o.Begin+o.Length {
			return true
		}
	}
	return false
}

// takeClaimed lets the peer fetch one piece that a mirror has claimed: at the
// very end whichever comes first is good.
func (p *Picker) takeClaimed(pe *Peer, now time.Duration, depth int, dst []Request) []Request {
	found := -1
	each(p.claimed, pe.have, 0, func(i int) bool {
		if p.active[i] == nil && pe.may(i) {
			found = i
		}
		return found < 0
	})
	if found < 0 {
		return dst
	}
	return p.rest(p.start(found, pe), pe, now, depth, dst)
}

// steal gives a piece that must come whole from one peer to another one, from
// its beginning: a peer that sends a block now and then must not keep it.
func (p *Picker) steal(a *piece, pe *Peer) {
	if a.owner != nil {
		for i := range a.owner.out {
			if o := &a.owner.out[i]; o.Piece == a.index {
				p.lose(a.owner, o)
			}
		}
		p.orphan(a)
	}
	p.adopt(a, pe)
}

// rest asks for what nobody has been asked for of the piece.
func (p *Picker) rest(a *piece, pe *Peer, now time.Duration, depth int, dst []Request) []Request {
	for pe.outBytes < depth && len(pe.out) < pe.limit {
		b, ok := a.unasked()
		if !ok {
			break
		}
		dst = p.ask(pe, a, b, 1, now, dst)
	}
	return dst
}
