package tracker

import (
	"encoding/binary"
	"net/netip"
)

// Peer is the node's own peer of a torrent, see Server.AddPeer.
type Peer struct {
	// ID is the peer id that the node's engine shows in handshakes. An announce
	// with it is recognised as the node's own.
	ID [20]byte
	// Addr is where the peer listens. Without an address (invalid or
	// unspecified, with the port set) each reply names the address of this host
	// that its request came in on.
	Addr netip.AddrPort
	// Left is the number of bytes that the peer misses; 0 makes it a seed.
	Left int64
}

// peerKey identifies a peer of a torrent: its address in 16 bytes and its port.
// A client that restarts with a new peer id on the same port so replaces its
// former self, and nobody can touch the entry of another host.
type peerKey [18]byte

func makeKey(a netip.Addr, port uint16) peerKey {
	var k peerKey
	a16 := a.As16()
	copy(k[:], a16[:])
	binary.BigEndian.PutUint16(k[16:], port)
	return k
}

func (k *peerKey) addr() netip.Addr {
	return netip.AddrFrom16([16]byte(k[:16])).Unmap()
}

func (k *peerKey) port() uint16 { return binary.BigEndian.Uint16(k[16:]) }

// is4 says whether the key's address is an IPv4 one.
func (k *peerKey) is4() bool { return [12]byte(k[:12]) == v4InV6 }

var v4InV6 = [12]byte{10: 0xff, 11: 0xff}

// appendCompact appends the peer in the form of BEP 23 (6 bytes) or BEP 7 (18).
func (k *peerKey) appendCompact(b []byte) []byte {
	if k.is4() {
		return append(b, k[12:]...)
	}
	return append(b, k[:]...)
}

// entry is what is kept of a peer. It has no pointers, so that large swarms
// cost the garbage collector nothing.
type entry struct {
	left    int64 // bytes it misses; -1 unknown
	expires int32 // second of the server's clock
	key     peerKey
	id      [20]byte
	crypto  uint8 // what it said of encryption; fills a gap
}

func (e *entry) seed() bool { return e.left == 0 }

// is says whether the entry is of the peer with this key or this peer id. The
// ends, where peers differ, are compared first: it is asked for each peer of
// each answer.
func (e *entry) is(k *peerKey, id *[20]byte) bool {
	return binary.NativeEndian.Uint64(e.key[10:]) == binary.NativeEndian.Uint64(k[10:]) && e.key == *k ||
		binary.NativeEndian.Uint64(e.id[12:]) == binary.NativeEndian.Uint64(id[12:]) && e.id == *id
}
