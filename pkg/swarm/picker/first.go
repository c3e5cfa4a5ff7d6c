package picker

import "time"

// firsts are the pieces on their first way out of a directing seed: shown to a
// leaf, and nobody has them yet. The swarm cannot be faster than these leave
// the seed, so that nothing else is shown while there are enough of them: a
// second copy, which leaves bring each other, would only take turns with them on
// the seed's line. With a hundred leaves a quarter of what it sent was such.
type firsts struct {
	under bitset
	n     int
	// last is when one came to its leaf, and gap the mean time between two.
	last, gap time.Duration
	held      bool // something was not shown because of it
}

const (
	// enoughFirsts keep the seed's line busy.
	enoughFirsts = 12
	// firstsPatience is after how long without a first copy the leaves that hold
	// them are taken for slow or dead; or after the time of firstsGaps of them,
	// where that is longer: they come in bursts of as many as are served at once.
	firstsPatience = 250 * time.Millisecond
	firstsGaps     = 32
)

// shown notes that a piece that nobody has and nobody was shown is now shown.
func (f *firsts) shown(i int, now time.Duration) {
	if f.under.has(i) {
		return
	}
	if f.n == 0 {
		f.last = now
	}
	f.under.set(i)
	f.n++
}

// came notes that some leaf has the piece.
func (f *firsts) came(i int, now time.Duration) {
	if !f.under.has(i) {
		return
	}
	f.gap += (now - f.last - f.gap) / 8
	f.last = now
	f.drop(i)
}

// drop is for a piece that will not come to the leaf that it was shown to.
func (f *firsts) drop(i int) {
	if f.under.has(i) {
		f.under.clear(i)
		f.n--
	}
}

// enough reports whether the seed's line is busy with first copies.
func (f *firsts) enough(now time.Duration) bool {
	return f.n >= enoughFirsts && now-f.last < max(firstsPatience, firstsGaps*f.gap)
}

// holds reports whether piece i, the best there is, should not be shown now.
func (p *Picker) holds(i int, now time.Duration) bool {
	f := &p.dir.firsts
	if p.dir.keys[i] == 0 || p.without(FirstCopies) || !f.enough(now) {
		return false
	}
	f.held = true
	return true
}

// unhold has all leaves looked at again that may have been denied something.
func (p *Picker) unhold(now time.Duration) {
	if p.dir != nil && p.dir.firsts.held && !p.dir.firsts.enough(now) {
		p.dir.firsts.held = false
		p.MarkAll()
	}
}
