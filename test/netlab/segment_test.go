package netlab

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// tcpSegment is four packets of 100 bytes of payload and one of 30 in one piece, as the
// kernel hands them over: the TCP checksum has the sum of the addresses only.
func tcpSegment() ([]byte, []byte) {
	be := binary.BigEndian
	payload := make([]byte, 430)
	for i := range payload {
		payload[i] = byte(i)
	}
	const headers = 20 + 32 // with options
	raw := make([]byte, vnetHeader+headers, vnetHeader+headers+len(payload))
	raw[0], raw[gsoType] = 1, gsoTCP4
	binary.LittleEndian.PutUint16(raw[2:], headers)
	binary.LittleEndian.PutUint16(raw[gsoSize:], 100)
	p := raw[vnetHeader:]
	p[0], p[9] = 0x45, protocolTCP
	be.PutUint16(p[2:], uint16(headers+len(payload)))
	be.PutUint16(p[4:], 1000)
	copy(p[12:], []byte{10, 88, 0, 1, 10, 88, 0, 2})
	be.PutUint16(p[10:], ^checksum(0, p[:20]))
	tcp := p[20:]
	be.PutUint32(tcp[4:], 0xffffff80) // its end is beyond the turn of the numbers
	tcp[12], tcp[13] = 8<<4, tcpFIN|tcpPSH|tcpCWR|0x10
	be.PutUint16(tcp[16:], checksum(protocolTCP+32+uint32(len(payload)), p[12:20]))
	return append(raw, payload...), payload
}

func TestSegmentRun(t *testing.T) {
	be := binary.BigEndian
	raw, payload := tcpSegment()
	s, ok := parseSegment(raw)
	if !ok || s.packets() != 5 || s.size(0) != 152 || s.size(4) != 82 {
		t.Fatalf("%d packets of %d and %d bytes", s.packets(), s.size(0), s.size(4))
	}
	for _, c := range []struct {
		first, end int
		flags      byte
		gso        byte
	}{
		{0, 5, tcpFIN | tcpPSH | tcpCWR | 0x10, gsoTCP4},
		{0, 1, tcpCWR | 0x10, gsoNone},
		{1, 4, 0x10, gsoTCP4},
		{3, 5, tcpFIN | tcpPSH | 0x10, gsoTCP4},
		{4, 5, tcpFIN | tcpPSH | 0x10, gsoNone},
	} {
		got := s.run([]byte{}, c.first, c.end)
		if len(got) != s.runSize(c.first, c.end) {
			t.Errorf("%v: %d bytes, not %d", c, len(got), s.runSize(c.first, c.end))
		}
		p := got[vnetHeader:]
		tcp, body := p[20:], p[52:]
		if !bytes.Equal(body, payload[c.first*100:min(430, c.end*100)]) {
			t.Errorf("%v: wrong payload of %d bytes", c, len(body))
		}
		if int(be.Uint16(p[2:])) != len(p) || checksum(0, p[:20]) != 0xffff {
			t.Errorf("%v: IP header % x", c, p[:20])
		}
		if seq := be.Uint32(tcp[4:]); seq != 0xffffff80+uint32(c.first*100) {
			t.Errorf("%v: sequence number %#x", c, seq)
		}
		if tcp[13] != c.flags || got[gsoType] != c.gso {
			t.Errorf("%v: flags %#x, kind %d", c, tcp[13], got[gsoType])
		}
		if want := checksum(protocolTCP+uint32(len(tcp)), p[12:20]); be.Uint16(tcp[16:]) != want {
			t.Errorf("%v: sum %#x, not %#x", c, be.Uint16(tcp[16:]), want)
		}
	}
}

func TestParseSegmentRefuses(t *testing.T) {
	whole, _ := tcpSegment()
	for name, change := range map[string]func(b []byte) []byte{
		"short":        func(b []byte) []byte { return b[:vnetHeader+19] },
		"IPv6":         func(b []byte) []byte { b[vnetHeader] = 0x60; return b },
		"no TCP":       func(b []byte) []byte { b[vnetHeader+9] = 17; return b },
		"no payload":   func(b []byte) []byte { return b[:vnetHeader+52] },
		"no size":      func(b []byte) []byte { b[gsoSize] = 0; return b },
		"half headers": func(b []byte) []byte { return b[:vnetHeader+30] },
	} {
		if _, ok := parseSegment(change(bytes.Clone(whole))); ok {
			t.Errorf("%s: is taken for a segment", name)
		}
	}
}
