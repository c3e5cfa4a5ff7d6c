package swarm

import (
	"math"
	"sync/atomic"

	"distd/pkg/swarm/wire"
)

// Limiter bounds a rate of bytes of content. It is asked by many connections at
// once and serves them in turn. Its limit may change or end at any time, which
// must hold at once for who waits already. If it has a method Waiting() bool, that
// says whether anybody waits: also who is not known to the engine.
type Limiter interface {
	// Ask asks for n bytes. ready is nil when they may pass now, and else is
	// closed when they may; cancel gives up the place in line.
	Ask(n int) (ready <-chan struct{}, cancel func())
	// Burst is how many bytes should be asked for at once, at most; math.MaxInt
	// says that there is no limit now.
	Burst() int
}

// pacer asks several limiters one after another, for one direction of one
// connection. It waits for no more than one of them at a time, so that a slow
// channel does not keep others from what the node has.
type pacer struct {
	by     []Limiter
	agreed int // how many of them have
	n      int // what they are asked for
	ready  <-chan struct{}
	cancel func()
}

func newPacer(by ...Limiter) pacer {
	var p pacer
	for _, l := range by {
		if l != nil {
			p.by = append(p.by, l)
		}
	}
	return p
}

// burst is how many bytes to ask for at once; math.MaxInt where nothing limits.
func (p *pacer) burst() int {
	least := math.MaxInt
	for _, l := range p.by {
		least = min(least, l.Burst())
	}
	return least
}

// limited reports whether any limit is in force.
func (p *pacer) limited() bool { return p.burst() < math.MaxInt }

// ask asks for n bytes. When it returns a channel, it is to be called again
// once that is closed; the bytes are then still those that were asked for first.
// Else they may pass, and granted says how many.
func (p *pacer) ask(n int) (granted int, wait <-chan struct{}) {
	if p.n == 0 {
		p.n = n
	}
	for p.agreed < len(p.by) {
		if p.ready == nil {
			p.ready, p.cancel = p.by[p.agreed].Ask(p.n)
		}
		if p.ready != nil {
			select {
			case <-p.ready:
			default:
				return 0, p.ready
			}
		}
		p.ready, p.cancel = nil, nil
		p.agreed++
	}
	granted = p.n
	p.n, p.agreed = 0, 0
	return granted, nil
}

// wait waits until n bytes may pass, and reports false when stop was closed
// before. Meanwhile waiting is true.
func (p *pacer) wait(n int, stop <-chan struct{}, waiting *atomic.Bool) bool {
	for {
		_, ready := p.ask(n)
		if ready == nil {
			return true
		}
		waiting.Store(true)
		select {
		case <-ready:
			waiting.Store(false)
		case <-stop:
			p.stop()
			return false
		}
	}
}

// stop gives up waiting.
func (p *pacer) stop() {
	if p.cancel != nil {
		p.cancel()
	}
	p.n, p.agreed, p.ready, p.cancel = 0, 0, nil, nil
}

// pay gets the sender bytes that it may send, before it asks for its turn: who
// waits for a rate must not keep a place from others. It returns a channel to
// wait on when there are none yet.
func (s *sender) pay() <-chan struct{} {
	burst := s.pace.burst()
	s.free = burst == math.MaxInt && s.pace.ready == nil
	if s.free || s.paid > 0 {
		return nil
	}
	// A block that was longer than what was paid for is made good now.
	n := s.c.up.bytes(min(s.size, burst)) - s.paid
	granted, wait := s.pace.ask(n)
	s.paid += granted
	return wait
}

// afford takes the oldest requests that may be sent now, at least one.
func (s *sender) afford(dst []wire.Block) []wire.Block {
	if s.free {
		s.paid = 0
		return s.c.up.take(s.size, dst)
	}
	dst = s.c.up.take(min(s.size, s.paid), dst)
	for _, b := range dst {
		s.paid -= int(b.Length)
	}
	return dst
}

// bytes is the length of the requests that take would remove.
func (u *uploads) bytes(n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum := 0
	for k := 0; k < len(u.queue) && (k == 0 || sum+int(u.queue[k].Length) <= n); k++ {
		sum += int(u.queue[k].Length)
	}
	return max(sum, 1)
}
