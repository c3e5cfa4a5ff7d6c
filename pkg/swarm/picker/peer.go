package picker

import (
	"slices"
	"time"
)

// Peer is what is known about one connected peer. It is made by Add and must
// not be used with another Picker.
type Peer struct {
	// Owner is for the caller: it comes back in each Cancel.
	Owner any

	have    bitset
	count   int
	wanted  int // pieces that the peer has and we lack
	choked  bool
	allowed map[int]struct{} // BEP 6: may be asked for while choked
	// refused are pieces that the peer has rejected, with the time until which
	// it is not asked for them.
	refused map[int]time.Duration
	limit   int // requests that the peer is willing to queue
	stock   bool
	unit    int // blocks that one request may name
	gone    bool

	// What the owner has told the peer, or been told by it; see Decide.
	interested, wholesale, kin, toldAll, dirty bool
	news                                       []int // pieces that it is to be told of

	out      []request // asked and not yet answered, oldest first
	outBytes int       // of those that are not lost
	lost     int       // how many of them are
	pieces   []*piece  // owned, oldest first

	fetch *fetchState // set when it fetches from mirrors too

	since     time.Duration
	rate      Rate
	base      time.Duration // the shortest time in which a request was answered
	lastBlock time.Duration
	snubbed   bool
	restUntil time.Duration

	view view // of a directing seed
}

type request struct {
	Request
	at time.Duration
	// lost requests were given to other peers; an answer is still welcome.
	lost bool
}

// maxAllowedFast bounds what a peer may put into its allowed-fast set.
const maxAllowedFast = 64

// Add begins with a peer of which nothing is known: it has no pieces and
// chokes us. limit is the number of requests that it queues (reqq of BEP 10).
func (p *Picker) Add(owner any, limit int, now time.Duration) *Peer {
	pe := &Peer{Owner: owner, have: newBitset(p.cfg.Pieces), choked: true, limit: max(limit, 1), unit: 1, since: now, lastBlock: now}
	p.peers = append(p.peers, pe)
	p.mark(pe)
	return pe
}

// Remove forgets the peer; what it was fetching is free for others.
func (p *Picker) Remove(pe *Peer) {
	p.release(pe)
	pe.gone = true
	for i, q := range p.peers {
		if q == pe {
			p.peers = append(p.peers[:i], p.peers[i+1:]...)
			break
		}
	}
	for i := range pe.have.members() {
		if p.avail[i]--; p.avail[i] == 0 {
			p.had.clear(i)
		}
	}
	switch {
	case p.dir == nil:
	case pe.view.exempt:
		p.share()
	default:
		p.dir.forget(pe)
	}
	p.MarkAll()
}

// SetLimit changes the number of requests that the peer queues.
func (pe *Peer) SetLimit(n int) { pe.limit = max(n, 1) }

// SetStock says that the peer is a client of another kind, which may not answer
// as promptly as this one.
func (pe *Peer) SetStock() { pe.stock = true }

// SetKin says that the peer decides as this package does.
func (pe *Peer) SetKin() { pe.kin = true }

// SetUnit says how many bytes the peer is willing to send for one request.
func (pe *Peer) SetUnit(n int) { pe.unit = max(1, n/BlockSize) }

// SetWholesale says that the peer has told at once that it has everything: it
// need not be told what comes here.
func (pe *Peer) SetWholesale(all bool) { pe.wholesale = all }

// Interested reports whether the peer was told that we want what it has.
func (pe *Peer) Interested() bool { return pe.interested }

// Uninterested takes that back, for an owner that has told the peer so.
func (pe *Peer) Uninterested() { pe.interested = false }

// Rate is what the peer sends us, in bytes a second.
func (pe *Peer) Rate(now time.Duration) float64 { return pe.rate.At(now) }

// Count is the number of pieces that the peer has.
func (pe *Peer) Count() int { return pe.count }

// Has reports whether the peer has the piece.
func (pe *Peer) Has(i int) bool { return pe.have.has(i) }

// Interesting reports whether the peer has a piece that we lack.
func (pe *Peer) Interesting() bool { return pe.wanted > 0 }

// Outstanding is the number of requests that the peer has not answered.
func (pe *Peer) Outstanding() int { return len(pe.out) }

// Snubbed reports whether the peer has let its requests lie for too long.
func (pe *Peer) Snubbed() bool { return pe.snubbed && len(pe.out) > 0 }

// SetHave records that the peer has piece i, which must be in range.
func (p *Picker) SetHave(pe *Peer, i int, now time.Duration) {
	if pe.have.has(i) {
		return
	}
	pe.have.set(i)
	pe.count++
	p.avail[i]++
	p.had.set(i)
	if p.lacks(i) {
		pe.wanted++
	}
	p.theyHave(pe, i)
	if p.dir != nil && !pe.view.exempt {
		p.dir.delivered(pe, i, int(p.cfg.PieceLength), now)
		p.unhold(now)
		p.callWaiting(now)
	}
	p.mark(pe)
}

// SetChoked records whether the peer refuses requests. A choke takes back
// what was asked of it.
func (p *Picker) SetChoked(pe *Peer, choked bool) {
	pe.choked = choked
	if choked {
		p.release(pe)
		p.MarkAll() // others may go on with it
	} else {
		clear(pe.refused)
	}
	p.mark(pe)
}

// AllowFast records that the peer serves piece i even while it chokes.
func (p *Picker) AllowFast(pe *Peer, i int) {
	if pe.allowed == nil {
		pe.allowed = make(map[int]struct{})
	}
	if len(pe.allowed) < maxAllowedFast {
		pe.allowed[i] = struct{}{}
	}
	p.mark(pe)
}

const (
	// refusedFor is how long a peer is not asked again for a piece that it has
	// rejected: its disk may be at fault, and the piece the rarest of all.
	refusedFor = 5 * time.Second
	// refusedRest is how long it is not asked for anything, or refusals would go
	// back and forth as fast as the link.
	refusedRest = 100 * time.Millisecond
)

// Reject records that the peer will not answer a request. Others may go on
// with the piece.
func (p *Picker) Reject(pe *Peer, r Request, now time.Duration) {
	i := slices.IndexFunc(pe.out, func(o request) bool { return o.Request == r })
	if i < 0 {
		return
	}
	p.unask(pe, i)
	if pe.refused == nil {
		pe.refused = make(map[int]time.Duration)
	}
	pe.refused[r.Piece] = now + refusedFor
	pe.restUntil = now + refusedRest
	if a := p.active[r.Piece]; a != nil && a.owner == pe {
		p.orphan(a)
	}
	p.mark(pe)
}

// forgive lets the peer be asked again for what it rejected long enough ago.
func (pe *Peer) forgive(now time.Duration) {
	for i, until := range pe.refused {
		if now >= until {
			delete(pe.refused, i)
		}
	}
}

// patience is how long a peer may leave its oldest request unanswered: four
// times what its rate lets expect, but no less than 5 s and no more than 60 s.
func (pe *Peer) patience() time.Duration {
	const low, high = 5 * time.Second, 60 * time.Second
	rate := pe.rate.At(max(pe.lastBlock, pe.rate.last))
	if rate <= 0 {
		return 2 * low
	}
	return min(high, max(low, time.Duration(4*float64(pe.outBytes)/rate*float64(time.Second))))
}

// snub gives the peer's pieces to others. Its answers are still taken when
// they come first.
func (p *Picker) snub(pe *Peer) {
	pe.snubbed = true
	for i := range pe.out {
		p.lose(pe, &pe.out[i])
	}
	for len(pe.pieces) > 0 {
		p.orphan(pe.pieces[0])
	}
}

// release takes everything back that was asked of the peer.
func (p *Picker) release(pe *Peer) {
	for i := range pe.out {
		p.lose(pe, &pe.out[i])
	}
	pe.out, pe.lost = pe.out[:0], 0
	for len(pe.pieces) > 0 {
		p.orphan(pe.pieces[0])
	}
}

// lose counts a request as no longer running.
func (p *Picker) lose(pe *Peer, o *request) {
	if o.lost {
		return
	}
	o.lost = true
	pe.lost++
	pe.outBytes -= o.Length
	a := p.active[o.Piece]
	if a == nil {
		return
	}
	for b := range a.blocks(o.Request) {
		if a.asked[b] > 0 {
			a.asked[b]--
			a.next = min(a.next, b)
		}
	}
}

// unask removes request i from those of the peer.
func (p *Picker) unask(pe *Peer, i int) {
	p.lose(pe, &pe.out[i])
	pe.out = append(pe.out[:i], pe.out[i+1:]...)
	pe.lost--
}
