package picker

import (
	"slices"
	"time"
)

// sample bounds how many candidates are compared for one choice, so that it
// costs the same with a million pieces as with five hundred.
const sample = 512

// Requests appends to dst the blocks to ask of the peer now, so that as much
// is under way as Depth allows. New pieces are begun only while fewer than room
// hold a buffer (see Active); blocked reports that more would have been.
func (p *Picker) Requests(pe *Peer, now time.Duration, room int, dst []Request) (_ []Request, blocked bool) {
	pe.forgive(now)
	if p.Done() || now < pe.restUntil || pe.choked && len(pe.allowed) == 0 || p.holdBack(pe) {
		return dst, false
	}
	depth := p.depth(pe, now)
	if pe.snubbed {
		depth = BlockSize
		if len(pe.out) > 0 {
			return dst, false
		}
	}
	for pe.outBytes < depth && len(pe.out) < pe.limit {
		a, b, ok := p.next(pe)
		if !ok {
			a, ok = p.choose(pe, room)
			if !ok {
				break
			}
			if a.owner == nil {
				p.adopt(a, pe)
			}
			continue
		}
		dst = p.ask(pe, a, b, a.run(b, pe.span(depth)), now, dst)
	}
	if pe.outBytes >= depth || len(pe.out) >= pe.limit {
		return dst, false
	}
	if room <= len(p.active) && p.wouldStart(pe) {
		return dst, true
	}
	return p.tail(pe, now, depth, room, dst), false
}

// ask records a request and appends it to dst. One that the peer has from
// before it fell silent is only taken up again: the peer is still to answer it,
// and asked anew would send the block twice.
func (p *Picker) ask(pe *Peer, a *piece, block, n int, now time.Duration, dst []Request) []Request {
	r := a.request(block, n)
	for b := range a.blocks(r) {
		a.asked[b]++
		a.last[b] = ask{pe, now}
	}
	pe.outBytes += r.Length
	if pe.lost > 0 {
		if i := slices.IndexFunc(pe.out, func(o request) bool { return o.Request == r }); i >= 0 {
			pe.out[i].lost, pe.out[i].at = false, now
			pe.lost--
			return dst
		}
	}
	pe.out = append(pe.out, request{Request: r, at: now})
	return append(dst, r)
}

// span is how many blocks one request should name, of a queue of depth bytes:
// several where the queue is long, so that fewer messages pass; one on slow
// links, where a block is all that should stand before anything else.
func (pe *Peer) span(depth int) int {
	return max(1, min(pe.unit, depth/(minRequests*BlockSize)))
}

// run is how many blocks, at most limit, can be asked for together from b on.
func (a *piece) run(b, limit int) int {
	n := 1
	for n < limit && b+n < len(a.got) && !a.got[b+n] && a.asked[b+n] == 0 {
		n++
	}
	return n
}

// next finds an unasked block in the pieces that the peer is fetching.
func (p *Picker) next(pe *Peer) (*piece, int, bool) {
	for _, a := range pe.pieces {
		if b, ok := a.unasked(); ok {
			return a, b, true
		}
	}
	if p.without(WholePieces) {
		return p.shared(pe)
	}
	return nil, 0, false
}

// may reports whether the peer can be asked for piece i.
func (pe *Peer) may(i int) bool {
	if !pe.have.has(i) {
		return false
	}
	if _, no := pe.refused[i]; no {
		return false
	}
	if pe.choked {
		_, ok := pe.allowed[i]
		return ok
	}
	return true
}

// choose gives the peer another piece: one that somebody has begun, else the
// rarest that is free. Whole pieces from one peer keep blame simple and let a
// piece be passed on early; which of the rarest it is, chance decides, or all
// leaves would ask for the same.
func (p *Picker) choose(pe *Peer, room int) (*piece, bool) {
	if p.freeCount == 0 {
		return nil, false
	}
	for _, a := range p.orphans {
		if pe.may(a.index) && !a.full() && p.free.has(a.index) {
			return a, true
		}
	}
	if room <= len(p.active) {
		return nil, false
	}
	if i := p.rarest(pe); i >= 0 {
		return p.start(i, pe), true
	}
	return nil, false
}

// rarest is the free piece of the peer that the fewest peers have, or -1.
func (p *Picker) rarest(pe *Peer) int {
	best, ties, seen := -1, 0, 0
	if p.without(RarestFirst) {
		return p.anyFree(pe)
	}
	each(p.free, pe.have, p.rng.IntN(len(p.free)), func(i int) bool {
		if p.active[i] != nil || (pe.choked || len(pe.refused) > 0) && !pe.may(i) {
			return true
		}
		seen++
		switch {
		case best < 0 || p.avail[i] < p.avail[best]:
			best, ties = i, 1
		case p.avail[i] == p.avail[best]:
			if ties++; p.rng.IntN(ties) == 0 {
				best = i
			}
		}
		return seen < sample
	})
	return best
}

// anyFree is a free piece of the peer, whichever chance brings, or -1.
func (p *Picker) anyFree(pe *Peer) int {
	found := -1
	each(p.free, pe.have, p.rng.IntN(len(p.free)), func(i int) bool {
		if p.active[i] == nil && pe.may(i) {
			found = i
		}
		return found < 0
	})
	return found
}

// wouldStart reports whether only the lack of room kept the peer idle.
func (p *Picker) wouldStart(pe *Peer) bool {
	found := false
	each(p.free, pe.have, 0, func(i int) bool {
		found = p.active[i] == nil && pe.may(i)
		return !found
	})
	return found
}
