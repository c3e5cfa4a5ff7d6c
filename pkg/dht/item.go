package dht

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha1"
	"errors"
	"fmt"
)

// Item is a mutable item (BEP 44).
type Item struct {
	Key   [32]byte // ed25519
	Salt  []byte   // 64 bytes at the most; tells items of one key apart
	Seq   int64    // not negative; the higher one is the newer one
	Value []byte   // bencoded in canonical form, 1000 bytes at the most
	Sig   [64]byte // of Message by Key
}

// What an item is refused for.
var (
	ErrNotFound  = errors.New("item not found")
	ErrSignature = errors.New("item's signature is wrong")
	ErrTooLarge  = errors.New("item's value is longer than 1000 bytes")
	ErrSalt      = errors.New("item's salt is longer than 64 bytes")
	ErrEncoding  = errors.New("item's value is not bencoded in canonical form, or its sequence number is negative")
	ErrOld       = errors.New("a newer item is known")
	errCAS       = errors.New("item is to replace another one")
	errFull      = errors.New("no room for the item")
)

// Message returns what Sig signs (BEP 44).
func (i *Item) Message() []byte {
	var b []byte
	if len(i.Salt) > 0 {
		b = append(b, "4:salt"...)
		b = appendStr(b, i.Salt)
	}
	b = append(b, "3:seq"...)
	b = appendNum(b, i.Seq)
	b = append(b, "1:v"...)
	return append(b, i.Value...)
}

// Check says what is wrong with the item: ErrTooLarge, ErrSalt, ErrEncoding or ErrSignature.
func (i *Item) Check() error {
	switch {
	case len(i.Value) > maxValue:
		return ErrTooLarge
	case len(i.Salt) > maxSalt:
		return ErrSalt
	case i.Seq < 0 || !canonical(i.Value):
		return ErrEncoding
	case !ed25519.Verify(i.Key[:], i.Message(), i.Sig[:]):
		return ErrSignature
	}
	return nil
}

// Target returns where the item is stored.
func (i *Item) Target() [20]byte { return Target(i.Key, i.Salt) }

// Target returns where items of the key and salt are stored (BEP 44).
func Target(key [32]byte, salt []byte) [20]byte {
	return sha1.Sum(append(key[:], salt...))
}

// immutableTarget returns where a value without a key is stored (BEP 44).
func immutableTarget(value []byte) [20]byte { return sha1.Sum(value) }

func (i *Item) clone() Item {
	c := *i
	c.Salt, c.Value = bytes.Clone(i.Salt), bytes.Clone(i.Value)
	return c
}

func (i *Item) String() string { return fmt.Sprintf("item %x, seq %d", i.Target(), i.Seq) }
