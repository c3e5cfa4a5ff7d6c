package picker

import (
	"iter"
	"math/bits"
)

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

// members are the members in order.
func (b bitset) members() iter.Seq[int] {
	return func(yield func(int) bool) {
		for w, x := range b {
			for ; x != 0; x &= x - 1 {
				if !yield(w<<6 + bits.TrailingZeros64(x)) {
					return
				}
			}
		}
	}
}

// stretch is n pieces from first on.
type stretch struct{ first, n int }

// runs are the members as stretches, in order.
func (b bitset) runs() iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		var r stretch
		for i := range b.members() {
			if r.n > 0 && i == r.first+r.n {
				r.n++
				continue
			}
			if r.n > 0 && !yield(r) {
				return
			}
			r = stretch{i, 1}
		}
		if r.n > 0 {
			yield(r)
		}
	}
}

// add puts the members of o into b.
func (b bitset) add(o bitset) {
	for i, x := range o {
		b[i] |= x
	}
}

// remove takes the members of o out of b.
func (b bitset) remove(o bitset) {
	for i, x := range o {
		b[i] &^= x
	}
}

func (b bitset) empty() bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func union(a, b bitset) bitset {
	m := append(bitset(nil), a...)
	m.add(b)
	return m
}

// minus are the members of a that are not in b.
func minus(a, b bitset) bitset {
	m := append(bitset(nil), a...)
	m.remove(b)
	return m
}

func count(b bitset) (n int) {
	for _, x := range b {
		n += bits.OnesCount64(x)
	}
	return n
}
