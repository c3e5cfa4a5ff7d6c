package bitmap

import "math/bits"

// Next is the smallest number in the set that is at least i, or -1.
func (m *Bitmap) Next(i int) int {
	return m.scan(i, func(w int) uint64 { return m.words[w] })
}

// NextClear is the smallest number at least i that is not in the set, or -1.
func (m *Bitmap) NextClear(i int) int {
	return m.scan(i, func(w int) uint64 { return ^m.words[w] })
}

// NextNotIn is the smallest number at least i that is in m and not in o, or
// -1. For pieces: what a peer has (m) that is missing here (o).
func (m *Bitmap) NextNotIn(i int, o *Bitmap) int {
	return m.scan(i, func(w int) uint64 { return m.words[w] &^ o.word(w) })
}

// scan returns the first number at least i whose bit is set in the words that
// get returns, or -1.
func (m *Bitmap) scan(i int, get func(word int) uint64) int {
	i = max(i, 0)
	if i >= m.n {
		return -1
	}
	w := i >> 6
	v := get(w) & (^uint64(0) >> (uint(i) & 63))
	for v == 0 {
		if w++; w == len(m.words) {
			return -1
		}
		v = get(w)
	}
	if i = w<<6 + bits.LeadingZeros64(v); i >= m.n {
		return -1
	}
	return i
}

// Or puts every number of o that is below Len into m.
func (m *Bitmap) Or(o *Bitmap) {
	m.combine(o, func(a, b uint64) uint64 { return a | b })
}

// And takes every number that is not in o out of m.
func (m *Bitmap) And(o *Bitmap) {
	m.combine(o, func(a, b uint64) uint64 { return a & b })
}

// AndNot takes every number of o out of m.
func (m *Bitmap) AndNot(o *Bitmap) {
	m.combine(o, func(a, b uint64) uint64 { return a &^ b })
}

func (m *Bitmap) combine(o *Bitmap, f func(a, b uint64) uint64) {
	for i := range m.words {
		m.words[i] = f(m.words[i], o.word(i))
	}
	// A longer o may have put bits behind the last number.
	if r := m.n % 64; r != 0 {
		m.words[len(m.words)-1] &= ^uint64(0) << (64 - r)
	}
	m.recount()
}

// CountNotIn is the number of numbers that are in m and not in o.
func (m *Bitmap) CountNotIn(o *Bitmap) int {
	n := 0
	for i, w := range m.words {
		n += bits.OnesCount64(w &^ o.word(i))
	}
	return n
}

// AnyNotIn says whether m holds a number that is not in o. For pieces:
// whether a peer (m) is interesting to who has o.
func (m *Bitmap) AnyNotIn(o *Bitmap) bool {
	for i, w := range m.words {
		if w&^o.word(i) != 0 {
			return true
		}
	}
	return false
}

// word is word i, zero behind the end, so that sets of different lengths can
// be compared.
func (m *Bitmap) word(i int) uint64 {
	if i >= len(m.words) {
		return 0
	}
	return m.words[i]
}
