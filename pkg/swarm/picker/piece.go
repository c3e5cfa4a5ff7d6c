package picker

import (
	"iter"
	"slices"
	"time"
)

// piece is one that is being fetched, or that is whole and being verified.
type piece struct {
	index   int
	length  int
	got     []bool
	asked   []uint8 // running requests for each block
	last    []ask   // the last of them
	missing int     // blocks
	next    int     // no block below it wants asking
	owner   *Peer   // nil: anybody may go on with it
	from    []*Peer // who sent blocks of it
}

// ask is who was asked for a block, and when.
type ask struct {
	pe *Peer
	at time.Duration
}

func (a *piece) full() bool { return a.missing == 0 }

// request names n blocks from block on.
func (a *piece) request(block, n int) Request {
	begin := block * BlockSize
	return Request{Piece: a.index, Begin: begin, Length: min(n*BlockSize, a.length-begin)}
}

// blocks are the numbers of the blocks that a request names.
func (a *piece) blocks(r Request) iter.Seq[int] {
	return func(yield func(int) bool) {
		for b := r.Begin / BlockSize; b*BlockSize < r.Begin+r.Length; b++ {
			if !yield(b) {
				return
			}
		}
	}
}

// left is how many bytes have not come yet.
func (a *piece) left() int { return a.missing * BlockSize }

// come is how many bytes have come, rounded up to blocks.
func (a *piece) come() int64 { return int64(len(a.got)-a.missing) * BlockSize }

// Discarded is how many bytes came in blocks of pieces that were given up
// before they were whole.
func (p *Picker) Discarded() int64 { return p.discarded }

// unasked returns the first block that has neither come nor been asked for.
func (a *piece) unasked() (int, bool) {
	for ; a.next < len(a.got); a.next++ {
		if !a.got[a.next] && a.asked[a.next] == 0 {
			return a.next, true
		}
	}
	return 0, false
}

// start begins piece i, to be fetched by the peer.
func (p *Picker) start(i int, pe *Peer) *piece {
	n := p.pieceLength(i)
	blocks := (n + BlockSize - 1) / BlockSize
	a := &piece{index: i, length: n, got: make([]bool, blocks), asked: make([]uint8, blocks), last: make([]ask, blocks), missing: blocks, owner: pe}
	p.active[i] = a
	p.order = append(p.order, a)
	pe.pieces = append(pe.pieces, a)
	p.take(i)
	return a
}

// adopt lets the peer go on with a piece that lost its owner.
func (p *Picker) adopt(a *piece, pe *Peer) {
	p.orphans = slices.DeleteFunc(p.orphans, func(b *piece) bool { return a == b })
	a.owner, a.next = pe, 0
	pe.pieces = append(pe.pieces, a)
	p.take(a.index)
}

// orphan takes a piece from its owner. One that must come whole from a single
// peer begins anew.
func (p *Picker) orphan(a *piece) {
	if pe := a.owner; pe != nil {
		pe.pieces = slices.DeleteFunc(pe.pieces, func(b *piece) bool { return a == b })
	}
	a.owner, a.next = nil, 0
	if p.single.has(a.index) {
		p.discarded += a.come()
		clear(a.got)
		a.missing, a.from = len(a.got), nil
	}
	p.orphans = append(p.orphans, a)
	p.giveBack(a.index)
}

// drop ends a piece in whatever state it is and returns the requests for it
// that still run.
func (p *Picker) drop(i int) (cancels []Cancel) {
	a := p.active[i]
	if a == nil {
		return nil
	}
	if !a.full() {
		p.discarded += a.come()
	}
	delete(p.active, i)
	same := func(b *piece) bool { return a == b }
	p.orphans = slices.DeleteFunc(p.orphans, same)
	p.order = slices.DeleteFunc(p.order, same)
	if a.owner != nil {
		a.owner.pieces = slices.DeleteFunc(a.owner.pieces, same)
	}
	for _, pe := range p.peers {
		pe.out = slices.DeleteFunc(pe.out, func(o request) bool {
			if o.Piece != i {
				return false
			}
			if o.lost {
				pe.lost--
			} else {
				pe.outBytes -= o.Length
			}
			cancels = append(cancels, Cancel{Peer: pe, Request: o.Request})
			return true
		})
	}
	return cancels
}

// Verdict says what to do with a block that came.
type Verdict int

const (
	// Unwanted blocks were never asked for, or no longer are: drop the bytes.
	Unwanted Verdict = iota
	// Keep the bytes at their place in the piece's buffer.
	Keep
	// Whole is Keep for a piece's last block: the piece wants verifying.
	Whole
)

// Block records that a block came from the peer.
func (p *Picker) Block(pe *Peer, r Request, now time.Duration) (v Verdict, cancels []Cancel) {
	i := slices.IndexFunc(pe.out, func(o request) bool { return o.Request == r })
	if i < 0 {
		return Unwanted, nil
	}
	p.answered(pe, pe.out[i], now)
	p.unask(pe, i)
	a := p.active[r.Piece]
	if a == nil || p.single.has(r.Piece) && a.owner != pe {
		return Unwanted, nil
	}
	fresh, twice := false, false
	for b := range a.blocks(r) {
		if a.got[b] {
			continue
		}
		a.got[b] = true
		a.missing--
		fresh, twice = true, twice || a.asked[b] > 0
	}
	if !fresh {
		return Unwanted, nil
	}
	if !slices.Contains(a.from, pe) {
		a.from = append(a.from, pe)
	}
	if twice {
		cancels = p.unaskOthers(a)
	}
	if !a.full() {
		return Keep, cancels
	}
	p.finish(a)
	return Whole, cancels
}

// unaskOthers takes back every request for the piece all of whose blocks have
// come from somebody else.
func (p *Picker) unaskOthers(a *piece) (cancels []Cancel) {
	for _, pe := range p.peers {
		for i := len(pe.out) - 1; i >= 0; i-- {
			r := pe.out[i].Request
			if r.Piece == a.index && !a.lacks(r) {
				p.unask(pe, i)
				cancels = append(cancels, Cancel{Peer: pe, Request: r})
			}
		}
	}
	return cancels
}

// lacks reports whether some block of the request has not come.
func (a *piece) lacks(r Request) bool {
	for b := range a.blocks(r) {
		if !a.got[b] {
			return true
		}
	}
	return false
}

// answered learns from an answer how fast the peer is.
func (p *Picker) answered(pe *Peer, o request, now time.Duration) {
	pe.rate.Add(o.Length, now)
	p.flow.rate.Add(o.Length, now)
	pe.lastBlock = now
	pe.snubbed = false
	if d := now - o.at; !o.lost && (pe.base == 0 || d < pe.base) {
		pe.base = d
	}
}

// finish takes a whole piece out of the hands of its owner.
func (p *Picker) finish(a *piece) {
	same := func(b *piece) bool { return a == b }
	if a.owner != nil {
		a.owner.pieces = slices.DeleteFunc(a.owner.pieces, same)
		a.owner = nil
	}
	p.orphans = slices.DeleteFunc(p.orphans, same)
	p.take(a.index)
}

// Bad records that a whole piece did not verify. The peers that sent it are
// returned: a single one is to blame; of several any may be, so the piece is
// then fetched again from one peer only, which finds the culprit.
func (p *Picker) Bad(i int) []*Peer {
	a := p.active[i]
	if a == nil {
		return nil
	}
	from := a.from
	p.drop(i)
	p.giveBack(i)
	if len(from) > 1 {
		p.single.set(i)
	}
	return from
}

// DropStranded gives up the pieces that were begun and that no peer can be
// asked to go on with now, so that their buffers serve others. It returns their
// numbers, and what need not be sent any more.
func (p *Picker) DropStranded() (dropped []int, cancels []Cancel) {
	for _, a := range slices.Clone(p.orphans) {
		if slices.ContainsFunc(a.asked, func(n uint8) bool { return n > 0 }) ||
			slices.ContainsFunc(p.peers, func(pe *Peer) bool { return !pe.snubbed && pe.may(a.index) }) {
			continue
		}
		cancels = append(cancels, p.drop(a.index)...)
		p.giveBack(a.index)
		dropped = append(dropped, a.index)
	}
	return dropped, cancels
}
