package netlab

import "encoding/binary"

// What stands in front of each packet of a TUN device with IFF_VNET_HDR (struct
// virtio_net_hdr), in the machine's byte order, which the lab takes for little
// endian as all machines are that it runs on.
const (
	vnetHeader  = 10
	gsoType     = 1 // offset of a byte
	gsoSize     = 4 // offset of two bytes
	gsoNone     = 0
	gsoTCP4     = 1
	maxPacket   = 65535
	tcpFIN      = 0x01
	tcpPSH      = 0x08
	tcpCWR      = 0x80
	protocolTCP = 6
)

// segment is what the kernel hands to a TUN device at once: one packet, or many
// of a TCP connection in one piece, which a network card would send one by one.
type segment struct {
	raw     []byte // the header of virtio, IP header, TCP header, payload
	headers int    // bytes of IP and TCP headers; 0 for one packet
	mss     int    // bytes of payload of each packet but the last
}

// parseSegment takes in what was read from a device. It is false for what is no
// packet of IPv4: nothing else crosses a long link.
func parseSegment(raw []byte) (segment, bool) {
	s := segment{raw: raw}
	if len(raw) < vnetHeader+20 || raw[vnetHeader]>>4 != 4 {
		return s, false
	}
	if raw[gsoType]&^0x80 != gsoTCP4 {
		return s, true
	}
	p := raw[vnetHeader:]
	ip := int(p[0]&15) * 4
	if p[9] != protocolTCP || len(p) < ip+20 {
		return s, false
	}
	headers := ip + int(p[ip+12]>>4)*4
	mss := int(binary.LittleEndian.Uint16(raw[gsoSize:]))
	if mss == 0 || len(p) <= headers {
		return s, false
	}
	s.headers, s.mss = headers, mss
	return s, true
}

// packets is the number of packets that the segment is on a wire.
func (s segment) packets() int {
	if s.mss == 0 {
		return 1
	}
	return (len(s.raw) - vnetHeader - s.headers + s.mss - 1) / s.mss
}

// size is the length of the i-th packet, headers included, in bytes.
func (s segment) size(i int) int {
	if s.mss == 0 {
		return len(s.raw) - vnetHeader
	}
	return s.headers + min(s.mss, len(s.raw)-vnetHeader-s.headers-i*s.mss)
}

// runSize is the length of the packets from first to before end, in one piece.
func (s segment) runSize(first, end int) int {
	if s.mss == 0 {
		return len(s.raw)
	}
	body := vnetHeader + s.headers
	return min(len(s.raw), body+end*s.mss) - first*s.mss
}

// run appends the packets from first to before end, in one piece, to dst.
func (s segment) run(dst []byte, first, end int) []byte {
	if first == 0 && end == s.packets() {
		return append(dst, s.raw...)
	}
	body := vnetHeader + s.headers
	dst = append(dst, s.raw[:body]...)
	dst = append(dst, s.raw[body+first*s.mss:min(len(s.raw), body+end*s.mss)]...)
	if end-first == 1 {
		dst[gsoType] = gsoNone
		binary.LittleEndian.PutUint16(dst[gsoSize:], 0)
	}
	p := dst[vnetHeader:]
	ip := int(p[0]&15) * 4
	be := binary.BigEndian
	be.PutUint16(p[2:], uint16(len(p)))
	be.PutUint16(p[4:], be.Uint16(p[4:])+uint16(first))
	be.PutUint16(p[10:], 0)
	be.PutUint16(p[10:], ^checksum(0, p[:ip]))
	tcp := p[ip:]
	be.PutUint32(tcp[4:], be.Uint32(tcp[4:])+uint32(first*s.mss))
	if end < s.packets() {
		tcp[13] &^= tcpFIN | tcpPSH
	}
	if first > 0 {
		tcp[13] &^= tcpCWR
	}
	// The kernel leaves the sum over the payload to the device, and has put
	// down that of the addresses, protocol and length.
	be.PutUint16(tcp[16:], checksum(protocolTCP+uint32(len(tcp)), p[12:20]))
	return dst
}

// checksum is the folded sum of 16-bit words, not inverted.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
