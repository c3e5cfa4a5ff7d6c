package dht

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// tokens proves that whoever stores something receives packets at its address
// (BEP 5). A token is good for 10 to 15 minutes.
type tokens struct{ secret [32]byte }

const (
	tokenTurn = 5 * time.Minute
	tokenKept = 2 // turns before this one
)

func newTokens() *tokens {
	t := new(tokens)
	_, _ = rand.Read(t.secret[:]) // does not fail
	return t
}

func (t *tokens) of(a netip.Addr, turn int64) []byte {
	h := hmac.New(sha256.New, t.secret[:])
	a16 := a.As16()
	h.Write(a16[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(turn)))
	return h.Sum(nil)[:8]
}

func (t *tokens) issue(a netip.Addr, now time.Time) []byte {
	return t.of(a, now.UnixNano()/int64(tokenTurn))
}

func (t *tokens) valid(token []byte, a netip.Addr, now time.Time) bool {
	turn := now.UnixNano() / int64(tokenTurn)
	for i := range int64(tokenKept + 1) {
		if hmac.Equal(token, t.of(a, turn-i)) {
			return true
		}
	}
	return false
}
