// Package serve decides, for one node, which of its connections may send blocks
// next. Like package picker it is pure: time is handed in, there are no locks
// and no I/O, and a modelled network uses it as the engine does.
package serve

import (
	"slices"
	"time"
)

// Stale is how long a turn counts: a peer that does not read must not keep the
// others from being served.
const Stale = 250 * time.Millisecond

// Turn is a connection's wish, or permission, to send some blocks.
type Turn struct {
	// Owner is for the caller.
	Owner any

	priority uint64
	pieces   int
	since    time.Duration // of holding
	held     bool
}

// Line bounds how many connections send blocks at once. Among those that wait,
// the torrent of the highest priority comes first, and then the peer with the
// fewest pieces: it has the longest way to go. A torrent of lower priority gets
// one turn in eight. Serving one peer at a time was measured to be slow, so the
// bound is there to keep hundreds of sockets from being filled at once and not to
// save anything.
type Line struct {
	// InOrder serves in the order of asking, whatever the peer has.
	InOrder bool

	free    int
	holders []*Turn
	waiting []*Turn
	granted []*Turn
	passed  int // turns that went past one of lower priority
}

// NewLine returns a Line that lets so many send at once.
func NewLine(slots int) *Line { return &Line{free: slots} }

// Ask puts a turn in line, for a torrent of that priority and a peer that has
// so many pieces.
func (l *Line) Ask(t *Turn, priority uint64, pieces int, now time.Duration) {
	t.priority, t.pieces = priority, pieces
	if l.free <= 0 {
		l.reap(now)
	}
	l.waiting = append(l.waiting, t)
	l.serve(now) // which those that wait may deserve more
}

// Leave gives a turn back, or gives up waiting for it.
func (l *Line) Leave(t *Turn, now time.Duration) {
	if t.held {
		t.held = false
		l.free++
		l.holders = without(l.holders, t)
	} else {
		l.waiting = without(l.waiting, t)
	}
	l.serve(now)
}

// Poke is for those that wait: it looks for holders that do not count any more.
func (l *Line) Poke(now time.Duration) {
	l.reap(now)
	l.serve(now)
}

// Granted returns the turns that have come since it was last called. The slice
// is good until the next call of any method.
func (l *Line) Granted() []*Turn {
	g := l.granted
	l.granted = l.granted[:0]
	return g
}

// reap takes back what was held for too long.
func (l *Line) reap(now time.Duration) {
	l.holders = slices.DeleteFunc(l.holders, func(h *Turn) bool {
		if now-h.since < Stale {
			return false
		}
		h.held = false
		l.free++
		return true
	})
}

// overtakes is how often in a row a turn may go past one of lower priority. After
// that the oldest of these is served: its connection must not look dead.
const overtakes = 7

// serve grants turns while there are slots.
func (l *Line) serve(now time.Duration) {
	for l.free > 0 && len(l.waiting) > 0 {
		best := l.waiting[0]
		for _, t := range l.waiting[1:] {
			if l.before(t, best) {
				best = t
			}
		}
		best = l.spare(best)
		l.waiting = without(l.waiting, best)
		l.free--
		best.held, best.since = true, now
		l.holders = append(l.holders, best)
		l.granted = append(l.granted, best)
	}
}

// spare is the turn to serve next: the best, unless turns of lower priority have
// been passed over too often.
func (l *Line) spare(best *Turn) *Turn {
	i := slices.IndexFunc(l.waiting, func(t *Turn) bool { return t.priority < best.priority })
	switch {
	case i < 0:
		return best
	case l.passed < overtakes:
		l.passed++
		return best
	}
	l.passed = 0
	return l.waiting[i]
}

func (l *Line) before(a, b *Turn) bool {
	return a.priority > b.priority || a.priority == b.priority && a.pieces < b.pieces && !l.InOrder
}

func without(ts []*Turn, t *Turn) []*Turn {
	return slices.DeleteFunc(ts, func(x *Turn) bool { return x == t })
}
