// Package bitmap is a small set of piece numbers with the wire form of BEP 3:
// one bit for each piece, the high bit of the first byte for piece 0.
//
// It has no goroutines and no locks; a Bitmap that is shared is guarded by
// whoever shares it.
package bitmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
)

// Errors of FromBytes. A peer that sends either breaks BEP 3.
var (
	ErrLength = errors.New("bitfield has the wrong length")
	ErrSpare  = errors.New("bitfield has spare bits set")
)

// Bitmap is a set of the numbers 0 to Len()-1. Numbers outside of that are
// never in it: Has says false for them, Set and Clear do nothing. The zero
// value is an empty set of no numbers.
type Bitmap struct {
	// words holds number i in bit 63-i%64 of word i/64, so that the words
	// written big-endian are the wire form. Bits behind n are always zero.
	words []uint64
	n     int
	count int
}

// New returns an empty set of the numbers 0 to n-1. A negative n is 0.
func New(n int) *Bitmap {
	n = max(n, 0)
	return &Bitmap{words: make([]uint64, (n+63)/64), n: n}
}

// ByteLen is the length of the wire form of n numbers, in bytes.
func ByteLen(n int) int { return (max(n, 0) + 7) / 8 }

// FromBytes reads the wire form of n numbers. It returns ErrLength when b is
// not ByteLen(n) bytes long and ErrSpare when a bit behind the last number is
// set. It keeps no reference to b.
func FromBytes(b []byte, n int) (*Bitmap, error) {
	if n < 0 || len(b) != ByteLen(n) {
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrLength, len(b), ByteLen(n))
	}
	if r := n % 8; r != 0 && b[len(b)-1]<<r != 0 {
		return nil, ErrSpare
	}
	m := New(n)
	for i := range m.words {
		var w [8]byte
		copy(w[:], b[i*8:])
		m.words[i] = binary.BigEndian.Uint64(w[:])
	}
	m.recount()
	return m, nil
}

// AppendBytes appends the wire form to dst, ByteLen(Len()) bytes.
func (m *Bitmap) AppendBytes(dst []byte) []byte {
	want := len(dst) + ByteLen(m.n)
	for _, w := range m.words {
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	return dst[:want]
}

// Bytes returns the wire form in new memory.
func (m *Bitmap) Bytes() []byte { return m.AppendBytes(make([]byte, 0, len(m.words)*8)) }

// Len is the number of numbers that the set could hold.
func (m *Bitmap) Len() int { return m.n }

// Count is the number of numbers in the set.
func (m *Bitmap) Count() int { return m.count }

// All says that every number is in the set; also true when Len is 0.
func (m *Bitmap) All() bool { return m.count == m.n }

// None says that the set is empty.
func (m *Bitmap) None() bool { return m.count == 0 }

// Has says whether i is in the set.
func (m *Bitmap) Has(i int) bool {
	return i >= 0 && i < m.n && m.words[i>>6]&bit(i) != 0
}

// Set puts i into the set and says whether it was not there.
func (m *Bitmap) Set(i int) bool {
	if i < 0 || i >= m.n || m.words[i>>6]&bit(i) != 0 {
		return false
	}
	m.words[i>>6] |= bit(i)
	m.count++
	return true
}

// Clear takes i out of the set and says whether it was there.
func (m *Bitmap) Clear(i int) bool {
	if !m.Has(i) {
		return false
	}
	m.words[i>>6] &^= bit(i)
	m.count--
	return true
}

// SetAll puts every number into the set.
func (m *Bitmap) SetAll() {
	for i := range m.words {
		m.words[i] = ^uint64(0)
	}
	if r := m.n % 64; r != 0 {
		m.words[len(m.words)-1] = ^uint64(0) << (64 - r)
	}
	m.count = m.n
}

// ClearAll empties the set.
func (m *Bitmap) ClearAll() {
	clear(m.words)
	m.count = 0
}

// Clone returns a copy.
func (m *Bitmap) Clone() *Bitmap {
	return &Bitmap{words: append([]uint64(nil), m.words...), n: m.n, count: m.count}
}

// CopyFrom makes m equal to o, reusing m's memory where it fits.
func (m *Bitmap) CopyFrom(o *Bitmap) {
	m.words = append(m.words[:0], o.words...)
	m.n, m.count = o.n, o.count
}

// Equal says that both are sets of as many numbers and hold the same.
func (m *Bitmap) Equal(o *Bitmap) bool {
	if m.n != o.n || m.count != o.count {
		return false
	}
	for i, w := range m.words {
		if w != o.words[i] {
			return false
		}
	}
	return true
}

func bit(i int) uint64 { return 1 << (63 - uint(i)&63) }

func (m *Bitmap) recount() {
	m.count = 0
	for _, w := range m.words {
		m.count += bits.OnesCount64(w)
	}
}

// Ones yields the numbers in the set in rising order. A number that is
// cleared or set while it runs may or may not appear.
func (m *Bitmap) Ones() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := m.Next(0); i >= 0; i = m.Next(i + 1) {
			if !yield(i) {
				return
			}
		}
	}
}
