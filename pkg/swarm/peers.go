package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// connEvent brings a connection whose handshake is done. addr is set when this
// node dialled.
type connEvent struct {
	s    *wire.Session
	raw  net.Conn
	addr *addr
}

// Reasons for ending a connection that are nobody's fault.
var (
	errDuplicate = errors.New("there is another connection to this peer")
	errBothSeeds = errors.New("both sides have everything")
	errFull      = errors.New("too many connections")
	errSilent    = errors.New("peer leaves requests unanswered")
	errUseless   = errors.New("nobody is interested")
)

func (ev connEvent) apply(t *Torrent) {
	c := newConn(t, ev.s, ev.raw, ev.addr)
	if err := t.admit(c); err != nil {
		t.log.Debug("connection refused", zap.Stringer("peer", c), zap.Error(err))
		t.e.conns.Add(-1)
		_ = ev.raw.Close()
		t.refused(ev.addr, err)
		return
	}
	if c.addr != nil {
		c.addr.mse = c.s.Obfuscated
	}
	setNotSentLowat(c.raw, 2*wire.DefaultBlock)
	t.conns = append(t.conns, c)
	c.pe = t.pick.Add(c, defaultReqq, t.now())
	t.greet(c)
	// Twice, because either may fail to start when the engine ends right now.
	if !t.e.spawn(c.write) || !t.e.spawn(c.read) {
		c.close(ErrClosed)
		t.forget(c)
	}
}

// refused notes in the book what became of an address whose connection was not
// kept.
func (t *Torrent) refused(a *addr, err error) {
	if a == nil || slices.ContainsFunc(t.conns, func(c *conn) bool { return c.addr == a }) {
		return // it is now known to be that of another connection
	}
	a.busy = false
	if errors.Is(err, errFull) || errors.Is(err, context.Canceled) {
		a.next = time.Now().Add(fullBackoff) // not the peer's fault
		return
	}
	a.self = errors.Is(err, wire.ErrSelf)
	a.failed(time.Now())
}

// defaultReqq is how many requests a peer keeps that does not say.
const defaultReqq = 250

// admit decides whether a new connection is kept. Of two with one peer the one
// stays that was opened by the side with the greater ID: both sides choose the
// same.
func (t *Torrent) admit(c *conn) error {
	switch {
	case t.ended:
		return ErrClosed
	case c.s.PeerID == t.e.cfg.PeerID:
		return wire.ErrSelf
	case len(t.conns) >= int(t.e.maxPerTorrent.Load()) && !t.makeRoom():
		return errFull
	}
	for _, old := range t.conns {
		if old.s.PeerID != c.s.PeerID || old.pe == nil {
			continue
		}
		keepOld := old.s.Incoming == c.s.Incoming
		if !keepOld {
			keepOld = bytes.Compare(t.opener(old), t.opener(c)) > 0
		} else if old.unheard(time.Now()) > unheard {
			keepOld = false // the old one is likely dead and the peer knows it
		}
		if keepOld {
			if c.addr != nil {
				t.adoptAddr(old, c.addr)
			}
			return errDuplicate
		}
		t.drop(old, errDuplicate)
		break
	}
	return nil
}

// adoptAddr notes under which address a connected peer is known.
func (t *Torrent) adoptAddr(c *conn, a *addr) {
	if c.addr == nil && a != nil {
		c.addr = a
		a.busy = true
	}
}

func (t *Torrent) opener(c *conn) []byte {
	if c.s.Incoming {
		return c.s.PeerID[:]
	}
	return t.e.cfg.PeerID[:]
}

// makeRoom drops a connection that is of no use to either side.
func (t *Torrent) makeRoom() bool {
	for _, c := range t.conns {
		if c.pe != nil && !c.pe.Interested() && !c.peerInterested && time.Since(c.since) > time.Minute {
			t.drop(c, errUseless)
			return true
		}
	}
	return false
}

// greet sends what comes first on a connection.
func (t *Torrent) greet(c *conn) {
	switch {
	case t.spec.Directing || t.pick.Count() == 0:
		if c.s.Fast {
			c.w.Send(wire.HaveNone)
		}
	case t.pick.Complete() && c.s.Fast && len(t.broken) == 0:
		c.w.Send(wire.HaveAll)
	default:
		t.sendBitfield(c)
	}
	if c.s.Extensions {
		t.greetExtended(c)
	} else {
		c.pe.SetStock()
	}
	if !c.held.Load() {
		t.welcome(c)
	}
}

// sendBitfield tells a peer all that is here.
func (t *Torrent) sendBitfield(c *conn) {
	m := bitmap.New(t.spec.Layout.NumPieces())
	for i := range m.Len() {
		if t.served.has(i) {
			m.Set(i)
		}
	}
	c.w.SendBitfield(m)
}

func (ev batchEvent) apply(t *Torrent) {
	<-ev.c.credits
	for i := range ev.msgs {
		if ev.c.pe == nil {
			return
		}
		if err := t.message(ev.c, &ev.msgs[i]); err != nil {
			t.drop(ev.c, err)
			return
		}
	}
}

// message handles one message of a peer.
func (t *Torrent) message(c *conn, m *peerMsg) error {
	switch m.kind {
	case wire.Piece:
		t.block(c, m)
	case wire.Have:
		if m.block.Index >= uint32(t.spec.Layout.NumPieces()) {
			return fmt.Errorf("have of piece %d of %d", m.block.Index, t.spec.Layout.NumPieces())
		}
		t.peerHas(c, int(m.block.Index))
	case wire.Bitfield, wire.HaveAll:
		return t.peerTold(c, m)
	case wire.Choke, wire.Unchoke:
		c.choked = m.kind == wire.Choke
		t.pick.SetChoked(c.pe, c.choked || c.held.Load())
		if c.choked {
			t.forgetAsked(c)
		}
	case wire.Interested, wire.NotInterested:
		c.peerInterested = m.kind == wire.Interested
	case wire.AllowedFast:
		if !c.held.Load() {
			t.pick.AllowFast(c.pe, int(m.block.Index))
		}
	case wire.Reject:
		if t.unexpect(c, m.block) {
			c.cancelled.Add(-1) // no answer will come any more
			t.pick.Reject(c.pe, fromWire(m.block), t.now())
		}
	case wire.Extended:
		return t.extended(c, m.extID, m.data)
	}
	return nil
}

// forgetAsked takes note that a choke voids all requests. Blocks that were on
// their way still come, and are skipped.
func (t *Torrent) forgetAsked(c *conn) {
	c.mu.Lock()
	asked := c.asked
	c.cancelled.Add(int64(len(asked)))
	c.asked = make(map[wire.Block][]byte)
	c.mu.Unlock()
	for b := range asked {
		if p := t.parts[int(b.Index)]; p != nil {
			p.returned(c, b)
		}
	}
}

func (t *Torrent) peerHas(c *conn, i int) {
	t.pick.SetHave(c.pe, i, t.now())
	c.have.Store(int32(c.pe.Count()))
	t.dropSeed(c)
}

// peerTold handles what a peer says of its pieces wholesale.
func (t *Torrent) peerTold(c *conn, m *peerMsg) error {
	n := t.spec.Layout.NumPieces()
	have := bitmap.New(n)
	if m.kind == wire.HaveAll {
		have.SetAll()
	} else {
		var err error
		if have, err = bitmap.FromBytes(m.data, n); err != nil {
			return fmt.Errorf("bitfield: %w", err)
		}
	}
	for i := range have.Ones() {
		t.pick.SetHave(c.pe, i, t.now())
	}
	c.pe.SetWholesale(have.All())
	c.have.Store(int32(c.pe.Count()))
	t.dropSeed(c)
	return nil
}

// dropSeed ends a connection between two seeds: they have nothing to say to
// each other.
func (t *Torrent) dropSeed(c *conn) {
	seed := t.hasAll(c)
	if c.addr != nil {
		c.addr.seed = seed || c.directing && c.addr.seed
	}
	if c.directing && t.spec.Directing {
		return // see dropPartner
	}
	if t.pick.Done() && seed && t.durable() && t.saidFarewell(c) {
		t.drop(c, errBothSeeds)
	}
}

// farewellTime is how long a peer has to take in that this node is a seed, in a
// torrent of at most farewellPieces.
const (
	farewellTime   = 2 * time.Second
	farewellPieces = 1 << 13
)

// saidFarewell says whether the peer knows that this node has everything. A
// directing seed has never said so: another client would take it for one that
// lacks pieces and dial it again and again. It is told each piece before the
// connection ends.
func (t *Torrent) saidFarewell(c *conn) bool {
	n := t.spec.Layout.NumPieces()
	if !t.spec.Directing || c.kin || n > farewellPieces {
		return true
	}
	if c.farewell.IsZero() {
		c.farewell = time.Now()
		for i := range n {
			c.w.SendIndex(wire.Have, uint32(i))
		}
	}
	return time.Since(c.farewell) > farewellTime
}

func (t *Torrent) durable() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// drop ends a connection and forgets it at once; the reader's end comes later.
func (t *Torrent) drop(c *conn, err error) {
	c.close(err)
	t.forget(c)
}

func (ev closedEvent) apply(t *Torrent) { t.forget(ev.c) }

// forget takes a connection that is closed out of the torrent's state.
func (t *Torrent) forget(c *conn) {
	if c.pe == nil {
		return
	}
	pe := c.pe
	c.pe = nil
	t.counts.left(c)
	t.pick.Remove(pe)
	t.conns = slices.DeleteFunc(t.conns, func(o *conn) bool { return o == c })
	t.e.conns.Add(-1)
	now := time.Now()
	err := c.err
	if c.addr != nil {
		c.addr.busy = false
		// A directing seed that leaves a complete node is a seed, which its
		// pieces did not show.
		c.addr.seed = c.addr.seed || c.directing && t.pick.Done()
		if !c.blamed {
			// Only a connection that was of use makes the next attempt come soon.
			if c.down+c.w.BlockBytes() > 0 {
				c.addr.useful = now
			}
			if c.addr.useful.Equal(now) || now.Sub(c.since) > time.Minute {
				c.addr.failures = 0
			}
			c.addr.failed(now)
		}
	}
	if wire.IsProtocolError(err) {
		t.log.Warn("peer broke the protocol; its connection is closed", zap.Stringer("peer", c), zap.String("client", c.client), zap.Error(err))
	} else if !errors.Is(err, io.EOF) {
		t.log.Debug("connection ended", zap.Stringer("peer", c), zap.Error(err))
	}
	t.signalChanged()
}

// Bounds of how long a peer may leave requests unanswered, beyond the time after
// which others are asked, before it is dropped.
const (
	silence = 30 * time.Second
	// unheard is for one of which nothing at all is heard. Its cable may be
	// unplugged: TCP would take as long again as the outage to notice that it is
	// back, while a new connection is there in a moment.
	unheard = 5 * time.Second
)

// unheard is how long nothing has come from the peer.
func (c *conn) unheard(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - c.lastRead.Load())
}

// tickConns looks after connections: keep-alives, peers that do not answer.
func (t *Torrent) tickConns(now time.Time) {
	for _, c := range slices.Clone(t.conns) {
		switch {
		case !c.pe.Snubbed():
			c.snubbedSince = time.Time{}
		case c.snubbedSince.IsZero():
			c.snubbedSince = now
		case now.Sub(c.snubbedSince) > silence, now.Sub(c.snubbedSince) > unheard && c.unheard(now) > unheard:
			t.drop(c, errSilent)
			continue
		}
		if err := t.tickHeld(c, now); err != nil {
			t.drop(c, err)
			continue
		}
		if sent := c.w.BytesWritten(); sent != c.sentBytes {
			c.sentBytes, c.sentAt = sent, now
		} else if now.Sub(c.sentAt) > t.e.cfg.IdleTimeout/2-t.e.cfg.IdleTimeout/8 {
			c.sentAt = now
			c.w.KeepAlive()
		}
		t.tickPEX(c, now)
		t.dropSeed(c)
		t.dropPartner(c, now)
	}
}
