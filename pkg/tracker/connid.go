package tracker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
)

// connIDSeconds is the length of the period in which one connection id is
// given out. An id is good in its period and the next: BEP 15 lets clients use
// one for a minute and asks servers to take it for two.
const connIDSeconds = 64

// connIDs makes and checks the connection ids of BEP 15, which prove that a
// client receives at the address it sends from. Nothing is stored: an id is the
// AES-CBC-MAC of address, port and period, over blocks of a fixed number.
type connIDs struct {
	block cipher.Block
}

// macBlocks is the memory that computing an id needs. It is passed in: behind
// the interface of the cipher it would be allocated each time.
type macBlocks [32]byte

func newConnIDs() (*connIDs, error) {
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return &connIDs{block: block}, nil
}

func (c *connIDs) make(b *macBlocks, from netip.AddrPort, second int32) uint64 {
	return c.mac(b, from, second/connIDSeconds)
}

func (c *connIDs) valid(b *macBlocks, id uint64, from netip.AddrPort, second int32) bool {
	period := second / connIDSeconds
	return id == c.mac(b, from, period) || id == c.mac(b, from, period-1)
}

func (c *connIDs) mac(b *macBlocks, from netip.AddrPort, period int32) uint64 {
	*b = macBlocks{}
	addr := from.Addr().As16()
	copy(b[:], addr[:])
	binary.BigEndian.PutUint16(b[16:], from.Port())
	binary.BigEndian.PutUint32(b[18:], uint32(period))
	c.block.Encrypt(b[:16], b[:16])
	for i := range 16 {
		b[16+i] ^= b[i]
	}
	c.block.Encrypt(b[16:], b[16:])
	return binary.BigEndian.Uint64(b[16:])
}
