package picker

import "time"

// crowd bounds what a directing seed shows to all leaves together. What is shown
// is sent side by side, so that with hundreds of leaves each piece took as long
// as hundreds of them on the seed's line, and nobody could pass it on meanwhile.
type crowd struct {
	shown   int     // reveals to all leaves that have not arrived
	waiting []*Peer // leaves that were denied one, in the order in which they come next
	last    time.Duration
	gap     time.Duration // the mean time between two arrivals
}

const (
	// manyShown is how many pieces are shown to all leaves together, of more than
	// fewLeaves.
	manyShown = 96
	// crowdPatience is how long none may arrive, or crowdGaps the number of mean
	// times between two: then those that were shown are slow or dead, and others
	// are shown theirs.
	crowdPatience = 250 * time.Millisecond
	crowdGaps     = 32
)

// full reports whether a leaf has to wait.
func (c *crowd) full(now time.Duration) bool {
	return c.shown >= manyShown && now-c.last < max(crowdPatience, crowdGaps*c.gap)
}

// arrived notes that a leaf has got what it was shown.
func (c *crowd) arrived(now time.Duration) {
	c.shown--
	c.gap += (now - c.last - c.gap) / 8
	c.last = now
}

// crowded reports whether the leaf has to wait for others, and puts it in line.
func (p *Picker) crowded(pe *Peer, now time.Duration) bool {
	c := &p.dir.crowd
	if len(p.peers) <= fewLeaves || p.without(FewShown) || !c.full(now) {
		return false
	}
	if !pe.view.waits {
		pe.view.waits = true
		c.waiting = append(c.waiting, pe)
	}
	return true
}

// callWaiting has those in line looked at when there is a place, in their order:
// who finds none gets in line again, behind nobody who came later.
func (p *Picker) callWaiting(now time.Duration) {
	if p.dir == nil || p.dir.crowd.full(now) {
		return
	}
	c := &p.dir.crowd
	for i, pe := range c.waiting {
		c.waiting[i], pe.view.waits = nil, false
		p.mark(pe)
	}
	c.waiting = c.waiting[:0]
}
