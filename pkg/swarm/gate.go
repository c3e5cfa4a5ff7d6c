package swarm

import (
	"sync"
	"time"

	"distd/pkg/swarm/serve"
)

// gate lets many goroutines use a serve.Line.
type gate struct {
	mu    sync.Mutex
	line  *serve.Line
	began time.Time
}

// ticket is a place in the line; ready is closed when its turn has come.
type ticket struct {
	serve.Turn
	ready chan struct{}
}

func newGate(slots int) *gate { return &gate{line: serve.NewLine(slots), began: time.Now()} }

// ask gets in line.
func (g *gate) ask(priority uint64, pieces int) *ticket {
	t := &ticket{ready: make(chan struct{})}
	t.Owner = t
	g.do(func(now time.Duration) { g.line.Ask(&t.Turn, priority, pieces, now) })
	return t
}

// leave gives the turn back, or gives up waiting for it.
func (g *gate) leave(t *ticket) {
	g.do(func(now time.Duration) { g.line.Leave(&t.Turn, now) })
}

// poke is for those that wait; see serve.Line.
func (g *gate) poke() { g.do(g.line.Poke) }

// do changes the line and tells those whose turn has come.
func (g *gate) do(change func(now time.Duration)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(time.Since(g.began))
	for _, t := range g.line.Granted() {
		close(t.Owner.(*ticket).ready)
	}
}
