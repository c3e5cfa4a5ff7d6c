package httpfetch

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// sharedSink is a memSink of which another brings the last pieces: it wants
// those back that are claimed.
type sharedSink struct {
	*memSink
	from     int // pieces from here on are the other's
	yield    []int
	received atomic.Int64
}

func (s *sharedSink) Received(n int64) { s.received.Add(n) }

func (s *sharedSink) Share() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.left) * s.lay.PieceLength
}

func (s *sharedSink) Yield() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	y := s.yield
	s.yield = nil
	return y
}

// ask wants all claimed pieces of the other back.
func (s *sharedSink) ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := s.from; i < len(s.state); i++ {
		if s.state[i] == 1 {
			s.yield = append(s.yield, i)
		}
	}
	s.signal()
}

func (s *sharedSink) Unclaim(first, n int) {
	s.memSink.Unclaim(first, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := first; i < first+n; i++ {
		if i >= s.from && s.state[i] == 0 { // the other brings it
			s.state[i] = 2
			copy(s.got[s.lay.PieceOffset(i):], s.want[s.lay.PieceOffset(i):][:s.lay.PieceSize(i)])
			if s.left--; s.left == 0 {
				close(s.done)
			}
		}
	}
}

// TestYield: claimed pieces that another brings are not asked for any more, and
// the Sink knows what has come.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sharedSink{memSink: single(t, 16<<20, 64<<10)}
		s.from = len(s.state) / 2
		n := newNet()
		n.delay = 20 * time.Millisecond
		n.host(t, "m", good(s.memSink))
		f := n.fetcher(t, s.memSink, func(c *Config) {
			c.Sink = s
			c.StartConns, c.MaxConns = 2, 2
			c.Memory = 64 << 20
			c.Limiter = rate.NewLimiter(4<<20, 64<<10)
		}, "m")
		asking := time.NewTicker(100 * time.Millisecond)
		defer asking.Stop()
		go func() {
			for {
				select {
				case <-s.done:
					return
				case <-asking.C:
					s.ask()
				}
			}
		}()
		mustRun(t, f, time.Minute)
		s.check()
		got := s.received.Load()
		if got < 8<<20 || got > 14<<20 {
			t.Errorf("%d bytes came of 16 MiB, of which another brought the last half", got)
		}
		if sent := f.Stats().Mirrors[0].Bytes; sent-got > 1<<20 {
			t.Errorf("the sink knows of %d bytes, %d came", got, sent)
		}
	})
}
