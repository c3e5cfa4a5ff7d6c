package swarm

import (
	"sync"
	"time"
)

// gate bounds how many connections send blocks at once. Among those that wait,
// the torrent of the highest priority comes first, and then the peer with the
// fewest pieces: it has the longest way to go. Serving one peer at a time was
// measured to be slow, so the bound is there to keep hundreds of sockets from
// being filled at once and not to save anything.
type gate struct {
	mu      sync.Mutex
	free    int
	holders []*ticket
	waiting []*ticket
}

// stale is how long a ticket counts: a peer that does not read must not keep
// the others from being served.
const stale = 250 * time.Millisecond

// ticket is a connection's wish, or permission, to send some blocks.
type ticket struct {
	ready    chan struct{} // closed when the turn has come
	priority uint64
	pieces   int
	since    time.Time // of holding
	held     bool
}

func newGate(slots int) *gate { return &gate{free: slots} }

// ask gets in line.
func (g *gate) ask(priority uint64, pieces int, now time.Time) *ticket {
	t := &ticket{ready: make(chan struct{}), priority: priority, pieces: pieces}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free <= 0 {
		g.reap(now)
	}
	g.waiting = append(g.waiting, t)
	g.serve(now) // which those that wait may deserve more
	return t
}

func (g *gate) grant(t *ticket, now time.Time) {
	g.free--
	t.held, t.since = true, now
	g.holders = append(g.holders, t)
	close(t.ready)
}

// poke is for those that wait: it looks for holders that do not count any more.
func (g *gate) poke(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reap(now)
	g.serve(now)
}

func (g *gate) reap(now time.Time) {
	keep := g.holders[:0]
	for _, h := range g.holders {
		if now.Sub(h.since) < stale {
			keep = append(keep, h)
			continue
		}
		h.held = false
		g.free++
	}
	clear(g.holders[len(keep):])
	g.holders = keep
}

// leave gives the turn back, or gives up waiting for it.
func (g *gate) leave(t *ticket, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.held {
		t.held = false
		g.free++
		g.holders = without(g.holders, t)
	} else {
		g.waiting = without(g.waiting, t)
	}
	g.serve(now)
}

func (g *gate) serve(now time.Time) {
	for g.free > 0 && len(g.waiting) > 0 {
		best := g.waiting[0]
		for _, t := range g.waiting[1:] {
			if t.priority > best.priority || t.priority == best.priority && t.pieces < best.pieces {
				best = t
			}
		}
		g.waiting = without(g.waiting, best)
		g.grant(best, now)
	}
}

func without(ts []*ticket, t *ticket) []*ticket {
	for i, x := range ts {
		if x == t {
			return append(ts[:i], ts[i+1:]...)
		}
	}
	return ts
}
