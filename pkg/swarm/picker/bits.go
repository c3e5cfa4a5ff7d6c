package picker

import "math/bits"

// bitset is a fixed set of piece numbers, kept as words because the choices
// are intersections of whole sets.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }
func (b bitset) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) clear(i int)    { b[i>>6] &^= 1 << (i & 63) }

// each calls f for the members of the intersection of a and b, beginning at
// word from and wrapping around, until f returns false.
func each(a, b bitset, from int, f func(i int) bool) {
	for k := range a {
		w := from + k
		if w >= len(a) {
			w -= len(a)
		}
		for x := a[w] & b[w]; x != 0; x &= x - 1 {
			if !f(w<<6 + bits.TrailingZeros64(x)) {
				return
			}
		}
	}
}
