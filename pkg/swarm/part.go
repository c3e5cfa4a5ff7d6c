package swarm

import (
	"slices"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/wire"
)

// part is the memory of a piece that is being fetched. A connection's reader
// reads a block straight to its place here, which is lent to one connection at
// a time: where two are asked for the same block, the second reads it elsewhere
// and it is copied. Parts belong to the torrent's loop.
type part struct {
	data *[]byte // the whole piece; from the budget
	lent []lease
}

// lease is a stretch of a part that a connection may be reading into.
type lease struct {
	c *conn
	b wire.Block
}

func (l lease) overlaps(b wire.Block) bool {
	return l.b.Begin < b.Begin+b.Length && b.Begin < l.b.Begin+l.b.Length
}

// part returns the memory of piece i, made when there is none.
func (t *Torrent) part(i int) *part {
	p := t.parts[i]
	if p == nil {
		p = &part{data: t.e.budget.buffer(int(t.spec.Layout.PieceSize(i)))}
		t.parts[i] = p
	}
	return p
}

func (p *part) at(b wire.Block) []byte { return (*p.data)[b.Begin : b.Begin+b.Length] }

// lend gives the connection the place of a block, or nil when another has it.
func (p *part) lend(c *conn, b wire.Block) []byte {
	if slices.ContainsFunc(p.lent, func(l lease) bool { return l.overlaps(b) }) {
		return nil
	}
	p.lent = append(p.lent, lease{c, b})
	return p.at(b)
}

// returned notes that the connection will not read into the block's place any
// more. It reports false when the place was not lent to it, or no longer is.
func (p *part) returned(c *conn, b wire.Block) bool {
	i := slices.Index(p.lent, lease{c, b})
	if i < 0 {
		return false
	}
	p.lent = slices.Delete(p.lent, i, i+1)
	return true
}

// recall takes back every place that overlaps the block, which has come from
// elsewhere. Where a reader is at it this very moment, the part moves to other
// memory, and what the reader fills is left behind: bytes that the picker has
// counted are in nobody's hands, or a peer could change them after they were
// verified.
func (p *part) recall(bud *budget, b wire.Block) {
	moving := false
	p.lent = slices.DeleteFunc(p.lent, func(l lease) bool {
		if !l.overlaps(b) {
			return false
		}
		back := l.c.redirect(l.b)
		moving = moving || !back
		return back
	})
	if moving {
		p.move(bud)
	}
}

// move copies what nobody is reading into to fresh memory.
func (p *part) move(b *budget) {
	old := *p.data
	p.data = b.buffer(len(old))
	slices.SortFunc(p.lent, func(x, y lease) int { return int(x.b.Begin) - int(y.b.Begin) })
	at := 0
	for _, l := range p.lent {
		copy((*p.data)[at:], old[at:l.b.Begin])
		at = int(l.b.Begin + l.b.Length)
	}
	copy((*p.data)[at:], old[at:])
	// The others may go on: their places have moved, and what they read is
	// copied when it comes.
	p.lent = nil
}

// put copies a block that was read elsewhere to its place.
func (p *part) put(bud *budget, b wire.Block, data []byte) {
	p.recall(bud, b)
	copy(p.at(b), data)
}

// dropPart frees the memory of a piece that the picker has given up.
func (t *Torrent) dropPart(i int) {
	p := t.parts[i]
	if p == nil || t.pick.Buffered(i) {
		return
	}
	delete(t.parts, i)
	t.freePart(p)
}

// freePart gives the memory back, unless somebody may still be reading into it.
func (t *Torrent) freePart(p *part) {
	for _, l := range p.lent {
		if !l.c.redirect(l.b) {
			return // the garbage collector frees it then
		}
	}
	t.e.budget.freeBuffer(p.data)
}

// expect asks the peer for a block and finds a place for it.
func (t *Torrent) expect(c *conn, r picker.Request) {
	b := toWire(r)
	c.expect(b, t.part(r.Piece).lend(c, b))
	c.w.SendRequest(wire.Request, b)
}

// unexpect notes that the block is not wanted from the peer any more. It
// reports false when it is there already.
func (t *Torrent) unexpect(c *conn, b wire.Block) bool {
	if !c.unexpect(b) {
		return false
	}
	if p := t.parts[int(b.Index)]; p != nil {
		p.returned(c, b)
	}
	return true
}
