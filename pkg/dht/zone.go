package dht

import (
	"net"
	"net/netip"
)

// zone says which addresses this node has to do with.
type zone struct {
	allow func(netip.Addr) bool // nil: all
	only4 bool                  // the socket reaches no IPv6
	only6 bool                  // the socket reaches no IPv4
}

// addr says whether a host belongs to the zone.
func (z zone) addr(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && (z.allow == nil || z.allow(a))
}

// peer says whether an address may be handed on as that of a peer.
func (z zone) peer(a netip.AddrPort) bool { return a.Port() != 0 && z.addr(a.Addr()) }

// node says whether an address may be that of a node which can be asked.
func (z zone) node(a netip.AddrPort) bool {
	return z.peer(a) && !(z.only4 && a.Addr().Is6()) && !(z.only6 && a.Addr().Is4())
}

// unmap returns a's address and port, IPv4 as such. Whatever is no address of an
// IP network gives the zero value.
func unmap(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case nil:
		return ap
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
