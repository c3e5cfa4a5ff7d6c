package picker

import "time"

const (
	// tailPatience is how long an owner may still need for its piece before
	// another peer is asked for the same blocks: short when nothing else is
	// left to do, long while the swarm still brings new pieces. Where a piece
	// usually takes longer, it is two or four times that (fair.go).
	tailPatience = 100 * time.Millisecond
	slowPatience = 3 * time.Second
	// tailDepth bounds what is asked twice of one peer.
	tailDepth = 64 * kib
	// maxAsked is how many peers may be asked for one block, and askAgain after
	// which time one more: all of them may be of the kind that never answers.
	maxAsked = 2
	askAgain = time.Second
)

// tail asks an idle peer for blocks that another peer is slow to send. It is
// the only place where bytes may come twice, so it waits for the very end, or
// for a peer that is hopelessly slow.
func (p *Picker) tail(pe *Peer, now time.Duration, depth, room int, dst []Request) []Request {
	if pe.snubbed || p.without(TailTwice) {
		return dst
	}
	usual := min(time.Minute, p.flow.fairTime(int(p.cfg.PieceLength)))
	patience := max(slowPatience, 4*usual)
	if p.Endgame() {
		patience = max(tailPatience, 2*usual)
	}
	depth = min(depth, tailDepth)
	for _, a := range p.order {
		if pe.outBytes >= depth || len(pe.out) >= pe.limit {
			return dst
		}
		switch {
		case a.full() || !pe.may(a.index):
		case !p.single.has(a.index):
			dst = p.double(a, pe, now, depth, patience, dst)
		case a.owner != pe && (a.owner == nil || p.slower(a.owner, a.left(), pe, now, patience)):
			p.steal(a, pe)
			dst = p.rest(a, pe, now, depth, dst)
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

// slower reports whether a peer will need longer for what was asked of it and n
// bytes more than the other would, by more than a little.
func (p *Picker) slower(o *Peer, n int, pe *Peer, now, patience time.Duration) bool {
	// One that has been silent will be so for as long again, whatever its rate
	// was.
	own := max(p.eta(o, n+o.outBytes, now), 2*o.silence(now))
	return own > patience && own > 2*p.eta(pe, n+pe.outBytes, now)
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
func (p *Picker) eta(pe *Peer, n int, now time.Duration) time.Duration {
	rate := p.pace(pe, now)
	if !pe.rate.begun {
		rate = mib
	}
	return time.Duration(float64(n) / max(rate, kib) * float64(time.Second))
}

// double asks for the blocks of a piece from its end, where its owner comes
// last. What counts for a block is who was asked for it, who need not be the
// owner: a peer that takes requests and never answers may hold the last of them.
func (p *Picker) double(a *piece, pe *Peer, now time.Duration, depth int, patience time.Duration, dst []Request) []Request {
	for b := len(a.got) - 1; b >= 0 && pe.outBytes < depth && len(pe.out) < pe.limit; b-- {
		if !a.got[b] && p.late(a, b, pe, now, patience) && !pe.asked(a.index, b) {
			dst = p.ask(pe, a, b, 1, now, dst)
		}
	}
	return dst
}

// late reports whether the peer should be asked for a block because whoever is
// to send it is slow.
func (p *Picker) late(a *piece, b int, pe *Peer, now, patience time.Duration) bool {
	if a.asked[b] == 0 {
		return a.owner == nil || a.owner != pe && p.slower(a.owner, a.left(), pe, now, patience)
	}
	l := a.last[b]
	if a.asked[b] >= maxAsked && now-l.at < askAgain {
		return false
	}
	return l.pe != pe && p.slower(l.pe, 0, pe, now, patience)
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
