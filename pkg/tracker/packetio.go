package tracker

import (
	"net"
	"net/netip"
)

// packet is one request and where its answer goes. Its memory is used again.
type packet struct {
	data  []byte
	from  netip.AddrPort // as the socket gave it
	local netip.Addr     // of this host, where it was sent to; may be invalid
	buf   [maxUDPPacket]byte
	oob   [128]byte
	ctrl  []byte   // control message for the answer, part of oob
	addr  net.Addr // for sockets that are not *net.UDPConn
}

// packetIO reads requests and writes answers.
type packetIO interface {
	read(p *packet) error
	write(p *packet, answer []byte) error
}

func newPacketIO(pc net.PacketConn) (packetIO, error) {
	local := localAddr(pc.LocalAddr())
	if u, ok := pc.(*net.UDPConn); ok {
		return newUDPIO(u, local)
	}
	return &plainIO{pc: pc, local: local}, nil
}

// localAddr returns the address that a socket is bound to, or an invalid one
// when it is bound to all.
func localAddr(a net.Addr) netip.Addr {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := u.AddrPort().Addr().Unmap()
	if addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}

// plainIO serves any net.PacketConn whose addresses are those of UDP.
type plainIO struct {
	pc    net.PacketConn
	local netip.Addr
}

func (c *plainIO) read(p *packet) error {
	n, addr, err := c.pc.ReadFrom(p.buf[:])
	if err != nil {
		return err
	}
	p.data, p.addr, p.local, p.from = p.buf[:n], addr, c.local, netip.AddrPort{}
	if u, ok := addr.(*net.UDPAddr); ok {
		p.from = u.AddrPort()
	}
	return nil
}

func (c *plainIO) write(p *packet, answer []byte) error {
	_, err := c.pc.WriteTo(answer, p.addr)
	return err
}
