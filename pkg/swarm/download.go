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

// do sends what the picker has decided.
func (t *Torrent) do(acts []picker.Action) {
	for _, a := range acts {
		c := a.Peer.Owner.(*conn)
		switch a.Kind {
		case picker.Ask:
			t.expect(c, a.Request)
		case picker.Withdraw:
			if b := toWire(a.Request); t.unexpect(c, b) {
				c.w.SendRequest(wire.Cancel, b)
			}
		case picker.Tell:
			c.w.SendIndex(wire.Have, uint32(a.Piece))
		case picker.TellAll:
			c.w.Send(wire.HaveAll)
		case picker.Want:
			c.w.Send(wire.Interested)
		}
	}
}

// grow reserves memory for more pieces and returns for how many.
func (t *Torrent) grow() int {
	n := 0
	for range max(1, growBy/t.spec.Layout.PieceLength) {
		if !t.e.budget.take(t, t.spec.Layout.PieceLength) {
			break
		}
		n++
	}
	return n
}

// shrink gives back memory that no piece needs.
func (t *Torrent) shrink() {
	n := t.pick.Shrink()
	t.e.budget.give(int64(n) * t.spec.Layout.PieceLength)
}

// dropStranded gives up the memory of pieces that nobody goes on with.
func (t *Torrent) dropStranded() {
	for _, i := range t.pick.GiveUp() {
		t.dropPart(i)
	}
}

// block takes a block's bytes from a peer.
func (t *Torrent) block(c *conn, m *peerMsg) {
	b, n := m.block, int64(len(m.data))
	c.down += n
	p := t.parts[int(b.Index)]
	placed := m.lent && p != nil && p.returned(c, b)
	switch t.pick.Arrived(c.pe, fromWire(b), t.now()) {
	case picker.Unwanted:
		t.counts.wasted += n
		c.wasted += n
		t.freeBlock(m)
		return
	case picker.Whole:
		defer t.whole(int(b.Index))
	}
	t.counts.sources[SourcePeers] += n
	if !placed {
		t.part(int(b.Index)).put(t.e.budget, b, m.data)
		t.freeBlock(m)
	}
}

// freeBlock frees memory that a block was read into, if it was not its place.
func (t *Torrent) freeBlock(m *peerMsg) {
	if !m.lent {
		t.e.budget.freeBlock(m.data)
	}
}

// whole hands a piece whose blocks have all come to the workers.
func (t *Torrent) whole(i int) {
	p := t.parts[i]
	delete(t.parts, i)
	t.disk.writing++
	t.e.work.push(&job{t: t, piece: i, length: int(t.spec.Layout.PieceSize(i)), data: p.data})
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
	t.pick.Stored(i, t.now())
	t.dropPart(i)
	t.served.set(i)
	t.disk.written += t.spec.Layout.PieceSize(i)
	t.left.Add(-t.spec.Layout.PieceSize(i))
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
	t.pick.MarkAll()
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
		zap.Int64("wasted", t.counts.wasted), zap.Any("claims", t.pick.Shares()), zap.Duration("after", time.Since(t.began).Round(time.Millisecond)))
	for _, c := range slices.Clone(t.conns) {
		if c.pe == nil {
			continue
		}
		if c.pe.Interested() {
			c.pe.Uninterested()
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
