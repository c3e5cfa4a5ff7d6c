package swarm

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// memNet is a network in memory, on which engines run in virtual time. A cable
// carries the bytes of all connections in the order in which they come, as the
// queue before a full link does.
type memNet struct {
	running sync.WaitGroup
	mu      sync.Mutex
	ports   uint16
	hosts   map[netip.AddrPort]*memListener
	cables  map[netip.AddrPort]*cable
}

func newMemNet(t testing.TB) *memNet {
	n := &memNet{hosts: make(map[netip.AddrPort]*memListener), cables: make(map[netip.AddrPort]*cable)}
	t.Cleanup(n.running.Wait)
	return n
}

// listen takes the next address.
func (n *memNet) listen() *memListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports++
	ap := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), n.ports)
	l := &memListener{addr: ap, come: make(chan net.Conn), closed: make(chan struct{})}
	n.hosts[ap] = l
	return l
}

// slow gives the host a cable that brings it so many bytes a second.
func (n *memNet) slow(host netip.AddrPort, rate int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cables[host] = &cable{rate: rate}
}

// dial returns a Config.Dial for the host.
func (n *memNet) dial(from netip.AddrPort) func(context.Context, netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		n.mu.Lock()
		l := n.hosts[to]
		n.mu.Unlock()
		if l == nil {
			return nil, context.DeadlineExceeded
		}
		n.mu.Lock()
		ours, theirs := n.wire(from), n.wire(to)
		n.mu.Unlock()
		n.running.Go(func() { pump(ours.far, theirs) })
		n.running.Go(func() { pump(theirs.far, ours) })
		select {
		case l.come <- memConn{theirs.near, from}:
			return memConn{ours.near, to}, nil
		case <-l.closed:
		case <-ctx.Done():
		}
		_ = ours.near.Close()
		_ = theirs.near.Close()
		return nil, context.DeadlineExceeded
	}
}

// memEnd is one end of a connection: what is written to far comes out at near.
type memEnd struct {
	near, far net.Conn
	cable     *cable // that the bytes come over; nil: at once
	in        chan memChunk
}

// memChunk is bytes on a cable, and when they have come.
type memChunk struct {
	data []byte
	at   time.Time
}

func (n *memNet) wire(host netip.AddrPort) *memEnd {
	e := &memEnd{cable: n.cables[host], in: make(chan memChunk, 4)}
	if e.cable != nil {
		e.in = make(chan memChunk, 1<<12) // its queue is before the cable
	}
	e.near, e.far = net.Pipe()
	n.running.Go(func() {
		for m := range e.in {
			time.Sleep(time.Until(m.at))
			_, _ = e.far.Write(m.data)
		}
		_ = e.far.Close()
	})
	return e
}

// pump carries what comes out of from to the other end.
func pump(from net.Conn, to *memEnd) {
	defer close(to.in)
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			_ = from.Close()
			return
		}
		to.in <- memChunk{append([]byte(nil), buf[:n]...), to.cable.carry(n)}
	}
}

// cable is the way to one host.
type cable struct {
	rate int // bytes a second
	mu   sync.Mutex
	free time.Time // from then on
}

// carry says when n bytes that are sent now have come.
func (c *cable) carry(n int) time.Time {
	now := time.Now()
	if c == nil {
		return now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free.Before(now) {
		c.free = now
	}
	c.free = c.free.Add(time.Duration(float64(n) / float64(c.rate) * float64(time.Second)))
	return c.free
}

type memListener struct {
	addr   netip.AddrPort
	come   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.come:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// memConn is a pipe with an address.
type memConn struct {
	net.Conn
	remote netip.AddrPort
}

func (c memConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
