package dht

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// guard is the socket that the library is given. Of what comes in, it hands over
// replies only, written anew from their checked parts; queries go to onQuery.
type guard struct {
	net.PacketConn
	zone     zone
	limits   *limits
	refused  *tally
	readOnly bool
	now      func() time.Time
	onQuery  func(*message, netip.AddrPort) // must not block; the message is its own
	in, out  atomic.Uint64

	once   sync.Once
	closed chan struct{}
	dead   chan error // the socket was closed by another
}

// ReadFrom returns the next reply. It fails only once the guard is closed, since
// the library ends the process when it does so at another time.
func (g *guard) ReadFrom(p []byte) (int, net.Addr, error) {
	buf := make([]byte, maxPacket+1)
	pause := 10 * time.Millisecond
	for {
		n, from, err := g.PacketConn.ReadFrom(buf)
		if err != nil {
			select {
			case <-g.closed:
				return 0, nil, net.ErrClosed
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				g.dead <- err
				<-g.closed
				return 0, nil, net.ErrClosed
			}
			g.refused.add(ReadError, netip.AddrPort{})
			select {
			case <-g.closed:
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 10 * time.Millisecond
		g.in.Add(1)
		addr := unmap(from)
		m, why := g.check(buf[:n], addr)
		if why != "" {
			g.refused.add(why, addr)
			continue
		}
		if m.kind == 'q' {
			g.onQuery(m, addr)
			buf = make([]byte, maxPacket+1) // the message keeps the old one
			continue
		}
		g.strip(m, addr)
		out := m.appendPacket(buf[n:n], true, true, netip.AddrPort{})
		if len(out) > len(p) {
			g.refused.add(TooLong, addr)
			continue
		}
		return copy(p, out), net.UDPAddrFromAddrPort(addr), nil
	}
}

// check decides whether a packet is looked at.
func (g *guard) check(b []byte, from netip.AddrPort) (*message, Reason) {
	switch {
	case !g.zone.node(from):
		return nil, Outside
	case !g.limits.take(from.Addr(), g.now()):
		return nil, TooFast
	case len(b) > maxPacket:
		return nil, TooLong
	}
	m, why := parse(b)
	if why == "" && m.kind == 'q' && g.readOnly {
		return nil, ReadOnly
	}
	return m, why
}

// strip takes from a reply what lies outside of the zone.
func (g *guard) strip(m *message, from netip.AddrPort) {
	nodes, peers := m.nodes[:0], m.peers[:0]
	for _, n := range m.nodes {
		if g.zone.node(n.addr) {
			nodes = append(nodes, n)
		} else {
			g.refused.add(Foreign, from)
		}
	}
	for _, p := range m.peers {
		if g.zone.peer(p) {
			peers = append(peers, p)
		} else {
			g.refused.add(Foreign, from)
		}
	}
	m.nodes, m.peers = nodes, peers
}

// WriteTo sends a packet, if it stays in the zone.
func (g *guard) WriteTo(p []byte, to net.Addr) (int, error) {
	addr := unmap(to)
	if !g.zone.node(addr) {
		g.refused.add(Outside, addr)
		return 0, fmt.Errorf("%v is outside of the zone", to)
	}
	g.out.Add(1)
	return g.PacketConn.WriteTo(p, net.UDPAddrFromAddrPort(addr))
}

// Close closes the socket, once.
func (g *guard) Close() (err error) {
	g.once.Do(func() {
		close(g.closed)
		err = g.PacketConn.Close()
	})
	return err
}
