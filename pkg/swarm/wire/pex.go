package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// MaxPEX is the number of peers that are taken from each list of a PEX message.
const MaxPEX = 200

// Flags of a peer in PEX (BEP 11).
const (
	PEXEncryption = uint8(pp.PexPrefersEncryption)
	PEXSeed       = uint8(pp.PexSeedUploadOnly)
	PEXOutgoing   = uint8(pp.PexOutgoingConn)
)

// PEXPeer is a peer that another one knows.
type PEXPeer struct {
	Addr  netip.AddrPort
	Flags uint8
}

// PEX is a message of peer exchange (BEP 11): who was connected to and who was
// left since the last.
type PEX struct {
	Added   []PEXPeer
	Dropped []netip.AddrPort
}

// Encode is the payload of the message.
func (p *PEX) Encode() []byte {
	var added, added6, flags, flags6, dropped, dropped6 []byte
	for _, a := range p.Added {
		if !a.Addr.IsValid() {
			continue
		}
		if a.Addr.Addr().Unmap().Is4() {
			added, flags = appendCompact(added, a.Addr), append(flags, a.Flags)
		} else {
			added6, flags6 = appendCompact(added6, a.Addr), append(flags6, a.Flags)
		}
	}
	for _, a := range p.Dropped {
		if !a.IsValid() {
			continue
		}
		if a.Addr().Unmap().Is4() {
			dropped = appendCompact(dropped, a)
		} else {
			dropped6 = appendCompact(dropped6, a)
		}
	}
	return bencode.MustMarshal(map[string]string{
		"added": string(added), "added.f": string(flags), "dropped": string(dropped),
		"added6": string(added6), "added6.f": string(flags6), "dropped6": string(dropped6),
	})
}

// DecodePEX reads the payload of a PEX message. Peers that nobody can connect
// to are left out, and those beyond MaxPEX in a list.
func DecodePEX(b []byte) (*PEX, error) {
	if len(b) > MaxExtHandshake {
		return nil, violation(Extended, "PEX message of %d bytes", len(b))
	}
	var raw struct {
		Added    bencode.Bytes `bencode:"added"`
		Flags    bencode.Bytes `bencode:"added.f"`
		Added6   bencode.Bytes `bencode:"added6"`
		Flags6   bencode.Bytes `bencode:"added6.f"`
		Dropped  bencode.Bytes `bencode:"dropped"`
		Dropped6 bencode.Bytes `bencode:"dropped6"`
	}
	if _, err := decodeDict(b, &raw); err != nil {
		return nil, violation(Extended, "PEX message: %v", err)
	}
	p := &PEX{}
	for _, l := range []struct {
		peers, flags bencode.Bytes
		size         int
	}{{raw.Added, raw.Flags, 4}, {raw.Added6, raw.Flags6, 16}} {
		flags := text(l.flags)
		compact(text(l.peers), l.size, func(i int, a netip.AddrPort) {
			peer := PEXPeer{Addr: a}
			if i < len(flags) {
				peer.Flags = flags[i]
			}
			p.Added = append(p.Added, peer)
		})
	}
	drop := func(_ int, a netip.AddrPort) { p.Dropped = append(p.Dropped, a) }
	compact(text(raw.Dropped), 4, drop)
	compact(text(raw.Dropped6), 16, drop)
	return p, nil
}

func appendCompact(b []byte, a netip.AddrPort) []byte {
	b = append(b, a.Addr().Unmap().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// compact calls f for each peer, with its place in the list, of a compact list
// of addresses of size bytes and ports of two. A rest is ignored.
func compact(s string, size int, f func(i int, a netip.AddrPort)) {
	step := size + 2
	for i := 0; i < MaxPEX && (i+1)*step <= len(s); i++ {
		b := []byte(s[i*step : (i+1)*step])
		addr, _ := netip.AddrFromSlice(b[:size])
		addr = addr.Unmap()
		port := binary.BigEndian.Uint16(b[size:])
		if port == 0 || addr.IsUnspecified() || addr.IsMulticast() {
			continue
		}
		f(i, netip.AddrPortFrom(addr, port))
	}
}
