package swarm

import (
	"sync/atomic"
	"time"
)

// queued adds up how long requests of peers had to wait here.
type queued struct{ limits, turn atomic.Int64 }

func (q *queued) all() map[string]time.Duration {
	m := make(map[string]time.Duration)
	for why, n := range map[string]*atomic.Int64{HeldLimits: &q.limits, HeldTurn: &q.turn} {
		if d := n.Load(); d > 0 {
			m[why] = time.Duration(d)
		}
	}
	return m
}

// stopwatch measures one wait at a time. The zero value is stopped.
type stopwatch struct{ since time.Time }

// start begins, unless it is running.
func (s *stopwatch) start() {
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// stop ends and adds what has passed; it does nothing when it is stopped.
func (s *stopwatch) stop(sum *atomic.Int64) {
	if !s.since.IsZero() {
		sum.Add(int64(time.Since(s.since)))
		s.since = time.Time{}
	}
}
