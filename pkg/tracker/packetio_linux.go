package tracker

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// udpIO serves a UDP socket, also one bound to all addresses: the kernel tells
// the address each packet was sent to, and the answer leaves from there. Else a
// host with several addresses answers from its first, and clients, whose sockets
// are connected, never see the answer.
type udpIO struct {
	conn  *net.UDPConn
	local netip.Addr
}

func newUDPIO(conn *net.UDPConn, local netip.Addr) (packetIO, error) {
	c := &udpIO{conn: conn, local: local}
	if local.IsValid() {
		return c, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var err4, err6 error
	err = raw.Control(func(fd uintptr) {
		err4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		err6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err != nil {
		return nil, err
	}
	if err4 != nil && err6 != nil { // one fails on a socket of the other family
		return nil, err4
	}
	return c, nil
}

func (c *udpIO) read(p *packet) error {
	n, oobn, _, from, err := c.conn.ReadMsgUDPAddrPort(p.buf[:], p.oob[:])
	if err != nil {
		return err
	}
	p.data, p.from, p.local, p.ctrl = p.buf[:n], from, c.local, nil
	if !c.local.IsValid() {
		p.control(oobn)
	}
	return nil
}

// control takes the local address out of the control messages, the first oobn
// bytes of p.oob, and leaves the message that makes an answer come from it.
func (p *packet) control(oobn int) {
	rest := p.oob[:oobn]
	for len(rest) > 0 {
		hdr, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return
		}
		whole := rest[:min(unix.CmsgSpace(len(data)), len(rest))]
		switch {
		case hdr.Level == unix.IPPROTO_IP && hdr.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: interface, local address, address in the header
			p.local = netip.AddrFrom4([4]byte(data[4:8]))
			binary.NativeEndian.PutUint32(data, 0) // any interface: routing decides
			p.ctrl = whole
			return
		case hdr.Level == unix.IPPROTO_IPV6 && hdr.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			// struct in6_pktinfo: address, interface
			p.local = netip.AddrFrom16([16]byte(data[:16])).Unmap()
			if p.local.IsMulticast() {
				p.local = netip.Addr{}
				return
			}
			if !p.local.IsLinkLocalUnicast() {
				binary.NativeEndian.PutUint32(data[16:], 0)
			}
			p.ctrl = whole
			return
		}
		rest = next
	}
}

func (c *udpIO) write(p *packet, answer []byte) error {
	_, _, err := c.conn.WriteMsgUDPAddrPort(answer, p.ctrl, p.from)
	return err
}
