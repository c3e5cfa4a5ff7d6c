package swarm

import (
	"net/netip"
	"sync/atomic"
)

// metDHT passes on where a peer's DHT is, the first time that it says so. A peer
// may name any port, but only of its own address.
func (e *Engine) metDHT(peer netip.Addr, port uint16, told *atomic.Bool) {
	if port == 0 || e.cfg.OnDHTNode == nil || !peer.IsValid() || !e.cfg.AllowPeer(peer) || told.Swap(true) {
		return
	}
	e.cfg.OnDHTNode(netip.AddrPortFrom(peer, port))
}

// dhtAt takes note of a peer's PORT message. The node is passed on once the peer
// may be one of the zone, which meet finds out: whoever comes second does it.
func (c *conn) dhtAt(port uint16) {
	if c.t.spec.Private {
		return
	}
	c.dhtPort.Store(uint32(port))
	if !c.held.Load() {
		c.passDHT()
	}
}

func (c *conn) passDHT() {
	c.t.e.metDHT(c.remote.Addr(), uint16(c.dhtPort.Load()), &c.dhtTold)
}
