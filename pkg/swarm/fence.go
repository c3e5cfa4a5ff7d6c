package swarm

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"distd/pkg/swarm/wire"
)

// Peers of other zones are kept out in two ways. Config.AllowPeer judges an
// address where it would come in: in the book, on an incoming connection, and once
// more where all dialling goes through. Config.Zone is compared with the name that
// another distd sends in its extension handshake, which finds those whose address
// does not tell. Before that has come nothing of the content is asked for or sent
// on a connection, and nobody is told of it.

var (
	errOutside = errors.New("the address is outside of the zone")
	errNoZone  = errors.New("peer has not sent its extension handshake, before which its zone is not known")
	errForeign = errors.New("peer is of another zone")
)

// foreignTime is how long an address of another zone is left alone, whoever names
// it again.
const foreignTime = 30 * time.Minute

// foreignGrace is how long after its beginning a connection to a peer of another
// zone is closed at the soonest: so that the peer too has read which zone this node
// is in, and does not connect again at once.
const foreignGrace = 500 * time.Millisecond

// meet compares zones when a peer's extension handshake h has come, and lets a
// connection begin that is not to another zone.
func (t *Torrent) meet(c *conn, h *wire.ExtHandshake) error {
	if c.foreign != nil {
		return nil
	}
	if err := t.e.sameZone(h); err != nil {
		t.foreign(c, h.Port)
		c.foreign = err
		if c.held.Load() {
			return nil // see tickHeld
		}
		return c.foreign
	}
	if c.held.Swap(false) {
		t.pick.SetChoked(c.pe, c.choked)
		t.welcome(c)
		c.passDHT()
	}
	return nil
}

// sameZone says whether the peer that has sent h may be one of the zone.
func (e *Engine) sameZone(h *wire.ExtHandshake) error {
	own := e.cfg.Zone
	if own == "" || h.Distd == nil || h.Distd.Zone == "" || h.Distd.Zone == own {
		return nil
	}
	return fmt.Errorf("%w: it is in %s, this node in %s", errForeign, h.Distd.Zone, own)
}

// tickHeld is why a connection on which nothing is exchanged is to be closed now;
// nil while it is not.
func (t *Torrent) tickHeld(c *conn, now time.Time) error {
	switch age := now.Sub(c.since); {
	case !c.held.Load():
	case c.foreign != nil && age > foreignGrace:
		return c.foreign
	case age > t.e.cfg.HandshakeTimeout:
		return errNoZone
	}
	return nil
}

// foreign remembers that a peer is of another zone, also under the port at which
// it says that it accepts connections.
func (t *Torrent) foreign(c *conn, port uint16) {
	a := c.addr
	if a == nil && c.remote.IsValid() && port != 0 {
		a = t.book.add(SourceIncoming, netip.AddrPortFrom(c.remote.Addr(), port))
	}
	if a != nil {
		a.failures = max(a.failures, 1) // so that it makes room where there is none
		a.foreign = time.Now().Add(foreignTime)
	}
	t.e.cfg.KeptOut(SourceHandshake, c.remote)
}

// allows says whether an address may be used, and counts one that may not.
func (e *Engine) allows(source string, ap netip.AddrPort) bool {
	if e.cfg.AllowPeer(ap.Addr()) {
		return true
	}
	e.cfg.KeptOut(source, ap)
	return false
}

// welcome tells a peer that may be one of the zone where the DHT is, and lets it
// ask for blocks.
func (t *Torrent) welcome(c *conn) {
	if c.s.DHT && !t.spec.Private {
		c.w.SendPort(t.e.cfg.DHTPort)
	}
	if t.choker().Unchoke(c.remote.Addr()) {
		c.w.Send(wire.Unchoke)
	}
}
