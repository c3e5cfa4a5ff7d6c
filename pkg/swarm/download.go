package swarm

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/wire"
)

func toWire(r picker.Request) wire.Block {
	return wire.Block{Index: uint32(r.Piece), Begin: uint32(r.Begin), Length: uint32(r.Length)}
}

func fromWire(b wire.Block) picker.Request {
	return picker.Request{Piece: int(b.Index), Begin: int(b.Begin), Length: int(b.Length)}
}

// growBy is how many bytes of pieces are reserved at a time.
const growBy = 1 << 20

// ask sends the peer the requests that it should have.
func (t *Torrent) ask(c *conn) {
	if t.pick.Done() || t.ended {
		return
	}
	if c.pe.Interesting() && !c.interested {
		c.interested = true
		c.w.Send(wire.Interested)
	}
	if t.disk.stuck() {
		return
	}
	for {
		reqs, blocked := t.pick.Requests(c.pe, t.now(), t.reserved, t.reqs[:0])
		t.reqs = reqs
		t.send(c, reqs)
		if !blocked {
			return
		}
		if !t.grow() {
			t.send(c, t.pick.Help(c.pe, t.now(), t.reqs[:0]))
			return
		}
	}
}

// send sends requests.
func (t *Torrent) send(c *conn, reqs []picker.Request) {
	for _, r := range reqs {
		b := toWire(r)
		c.expect(b)
		c.w.SendRequest(wire.Request, b)
	}
}

// grow reserves memory for more pieces.
func (t *Torrent) grow() bool {
	grown := false
	for range max(1, growBy/t.spec.Layout.PieceLength) {
		if !t.e.budget.take(t, t.spec.Layout.PieceLength) {
			break
		}
		t.reserved++
		grown = true
	}
	return grown
}

// shrink gives back memory that no piece needs.
func (t *Torrent) shrink() {
	if n := t.reserved - t.pick.Active(); n > 0 {
		t.reserved -= n
		t.e.budget.give(int64(n) * t.spec.Layout.PieceLength)
	}
}

// dropStranded gives up the memory of pieces that nobody goes on with.
func (t *Torrent) dropStranded() {
	dropped, cancels := t.pick.DropStranded()
	t.cancel(cancels)
	for _, i := range dropped {
		t.dropPart(i)
	}
}

// reveal shows the peer what a directing seed wants it to fetch next.
func (t *Torrent) reveal(c *conn) {
	if !t.spec.Directing {
		return
	}
	for _, i := range t.pick.Reveals(c.pe, t.now(), nil) {
		c.w.SendIndex(wire.Have, uint32(i))
	}
}

// cancel tells peers what is no longer wanted from them.
func (t *Torrent) cancel(cs []picker.Cancel) {
	for _, x := range cs {
		c := x.Peer.Owner.(*conn)
		b := toWire(x.Request)
		if c.unexpect(b) {
			c.w.SendRequest(wire.Cancel, b)
		}
		t.mark(c)
	}
}

// block takes a block's bytes from a peer.
func (t *Torrent) block(c *conn, b wire.Block, data []byte) {
	n := int64(len(data))
	c.down += n
	r := fromWire(b)
	v, cancels := t.pick.Block(c.pe, r, t.now())
	t.cancel(cancels)
	t.mark(c)
	if v == picker.Unwanted {
		t.counts.wasted += n
		c.wasted += n
		t.e.budget.freeBlock(data)
		return
	}
	t.counts.sources[SourcePeers] += n
	p := t.parts[r.Piece]
	if p == nil {
		size := t.spec.Layout.PieceSize(r.Piece)
		p = &part{blocks: make([][]byte, (size+picker.BlockSize-1)/picker.BlockSize)}
		t.parts[r.Piece] = p
	}
	if old := p.blocks[r.Begin/picker.BlockSize]; old != nil {
		t.e.budget.freeBlock(old)
		t.counts.wasted += int64(len(old))
	}
	p.blocks[r.Begin/picker.BlockSize] = data
	if v == picker.Whole {
		delete(t.parts, r.Piece)
		t.disk.writing++
		t.e.work.push(&job{t: t, piece: r.Piece, length: int(t.spec.Layout.PieceSize(r.Piece)), blocks: p.blocks})
	}
}

// dropPart frees the memory of a piece that the picker has given up.
func (t *Torrent) dropPart(i int) {
	p := t.parts[i]
	if p == nil || t.pick.Buffered(i) {
		return
	}
	delete(t.parts, i)
	for _, b := range p.blocks {
		t.counts.wasted += int64(len(b))
		t.e.budget.freeBlock(b)
	}
}

// verifiedEvent says what became of a whole piece.
type verifiedEvent struct{ *job }

func (j verifiedEvent) apply(t *Torrent) {
	t.disk.writing--
	if j.again {
		t.disk.retrying--
	}
	switch {
	case t.ended:
	case !j.ok:
		t.bad(j.piece)
	case j.err != nil:
		t.diskFailed(j.job)
	default:
		t.disk.worked(t)
		t.stored(j.piece)
	}
}

// stored goes on after a piece is on the disk, wherever it came from.
func (t *Torrent) stored(i int) {
	if t.pick.Has(i) {
		t.dropPart(i)
		return
	}
	t.cancel(t.pick.Got(i))
	t.dropPart(i)
	t.served.set(i)
	t.disk.written += t.spec.Layout.PieceSize(i)
	t.left.Add(-t.spec.Layout.PieceSize(i))
	for _, c := range t.conns {
		if c.pe == nil {
			continue
		}
		switch {
		case t.spec.Directing:
			t.mark(c)
		case !c.wholesale:
			// A peer that told us piece by piece may be a directing seed, which
			// has to learn that its reveal has arrived.
			c.w.SendIndex(wire.Have, uint32(i))
		}
	}
	if t.pick.Done() {
		t.complete()
	}
}

// bad deals with a piece that did not verify.
func (t *Torrent) bad(i int) {
	from := t.pick.Bad(i)
	t.counts.badPieces++
	t.counts.wasted += t.spec.Layout.PieceSize(i)
	t.counts.sources[SourcePeers] -= t.spec.Layout.PieceSize(i)
	t.signalChanged()
	t.markAll()
	if len(from) != 1 {
		names := make([]string, len(from))
		for k, pe := range from {
			names[k] = pe.Owner.(*conn).String()
		}
		t.log.Warn("piece did not verify; it came from several peers and is fetched again from one to find the culprit",
			zap.Int("piece", i), zap.Strings("peers", names))
		return
	}
	c := from[0].Owner.(*conn)
	t.counts.blamed[c.remote.Addr()]++
	t.log.Warn("peer sent bad bytes; it is left alone for a while", zap.Int("piece", i), zap.Stringer("peer", c), zap.String("client", c.client))
	t.blame(c, fmt.Errorf("piece %d did not verify", i))
}

// blame closes a connection and stays away from the peer for a while.
func (t *Torrent) blame(c *conn, err error) {
	now := time.Now()
	if c.addr != nil {
		c.addr.blamed(now)
		c.blamed = true
	}
	t.e.blame.add(c.s.PeerID, c.remote.Addr(), now)
	t.drop(c, err)
}

// complete is called when the last piece is stored: it is made durable before
// anybody is told.
func (t *Torrent) complete() {
	t.log.Debug("all pieces are here", zap.Int64("from_peers", t.counts.sources[SourcePeers]), zap.Int64("from_mirrors", t.counts.sources[SourceMirrors]),
		zap.Int64("wasted", t.counts.wasted), zap.Duration("after", time.Since(t.began).Round(time.Millisecond)))
	for _, c := range slices.Clone(t.conns) {
		if c.pe == nil {
			continue
		}
		if c.interested {
			c.interested = false
			c.w.Send(wire.NotInterested)
		}
		t.dropSeed(c)
	}
	t.e.budget.forget(t)
	t.sync(time.Now())
}

// finish tells everybody that all is there and durable.
func (t *Torrent) finish() {
	select {
	case <-t.done:
	default:
		close(t.done)
	}
	t.signalChanged()
}
