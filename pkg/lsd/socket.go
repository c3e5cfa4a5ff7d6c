package lsd

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The groups of BEP 14.
var (
	group4 = netip.MustParseAddrPort("239.192.152.143:6771")
	group6 = netip.MustParseAddrPort("[ff15::efc0:988f]:6771")
)

// socket is one group's socket. Only its methods read and close may be called
// while others are.
type socket interface {
	group() netip.AddrPort
	join(ifi *net.Interface) error
	leave(ifi *net.Interface) error
	// read waits for a datagram to the group. The index of the interface that it
	// came in on is 0 where the system does not tell.
	read(buf []byte) (n int, from netip.AddrPort, ifIndex int, err error)
	// write sends to the group, out of one interface.
	write(b []byte, ifi *net.Interface) error
	close() error
}

// openSockets opens the sockets of both groups. One of them is enough, as on a
// host without IPv6; err then says what is wrong with the other.
func openSockets() (socks []socket, err error) {
	s4, err4 := open4()
	if err4 == nil {
		socks = append(socks, s4)
	}
	s6, err6 := open6()
	if err6 == nil {
		socks = append(socks, s6)
	}
	return socks, errors.Join(err4, err6)
}

// listen opens a socket of a group. To an address that is multicast, net binds a
// socket whose port others may use too, which receives for all addresses.
func listen(network string, group netip.AddrPort) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(context.Background(), network, group.String())
}

type socket4 struct{ conn *ipv4.PacketConn }

func open4() (socket, error) {
	c, err := listen("udp4", group4)
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(c)
	err = errors.Join(p.SetMulticastTTL(1), p.SetMulticastLoopback(true), p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return socket4{p}, nil
}

func (s socket4) group() netip.AddrPort          { return group4 }
func (s socket4) join(ifi *net.Interface) error  { return s.conn.JoinGroup(ifi, udpAddr(group4)) }
func (s socket4) leave(ifi *net.Interface) error { return s.conn.LeaveGroup(ifi, udpAddr(group4)) }
func (s socket4) close() error                   { return s.conn.Close() }

func (s socket4) read(buf []byte) (int, netip.AddrPort, int, error) {
	for {
		n, cm, from, err := s.conn.ReadFrom(buf)
		switch {
		case err != nil:
			return 0, netip.AddrPort{}, 0, err
		case cm == nil:
			return n, source(from), 0, nil
		case cm.Dst.Equal(udpAddr(group4).IP): // else it came from anywhere, to our own address
			return n, source(from), cm.IfIndex, nil
		}
	}
}

func (s socket4) write(b []byte, ifi *net.Interface) error {
	_, err := s.conn.WriteTo(b, &ipv4.ControlMessage{IfIndex: ifi.Index}, udpAddr(group4))
	return err
}

type socket6 struct{ conn *ipv6.PacketConn }

func open6() (socket, error) {
	c, err := listen("udp6", group6)
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(c)
	err = errors.Join(p.SetMulticastHopLimit(1), p.SetMulticastLoopback(true), p.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return socket6{p}, nil
}

func (s socket6) group() netip.AddrPort          { return group6 }
func (s socket6) join(ifi *net.Interface) error  { return s.conn.JoinGroup(ifi, udpAddr(group6)) }
func (s socket6) leave(ifi *net.Interface) error { return s.conn.LeaveGroup(ifi, udpAddr(group6)) }
func (s socket6) close() error                   { return s.conn.Close() }

func (s socket6) read(buf []byte) (int, netip.AddrPort, int, error) {
	for {
		n, cm, from, err := s.conn.ReadFrom(buf)
		switch {
		case err != nil:
			return 0, netip.AddrPort{}, 0, err
		case cm == nil:
			return n, source(from), 0, nil
		case cm.Dst.Equal(udpAddr(group6).IP):
			return n, source(from), cm.IfIndex, nil
		}
	}
}

func (s socket6) write(b []byte, ifi *net.Interface) error {
	_, err := s.conn.WriteTo(b, &ipv6.ControlMessage{IfIndex: ifi.Index}, udpAddr(group6))
	return err
}

func udpAddr(a netip.AddrPort) *net.UDPAddr { return net.UDPAddrFromAddrPort(a) }

// source is where a datagram came from. Only a link-local address has a zone: it
// means nothing without.
func source(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	from := u.AddrPort()
	addr := from.Addr().Unmap()
	if !addr.IsLinkLocalUnicast() {
		addr = addr.WithZone("")
	}
	return netip.AddrPortFrom(addr, from.Port())
}
