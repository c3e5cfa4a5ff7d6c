package dht

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// schedule runs jobs again and again, a few at a time. Of those that are due the
// one that was added last goes first.
type schedule struct {
	mu    sync.Mutex
	limit int
	jobs  map[*job]struct{}
	added uint64
	busy  int
	wake  chan struct{}
}

type job struct {
	// do says after how long it is to be done again; never if it is negative.
	do func(context.Context) time.Duration

	number  uint64
	due     time.Time
	cancel  context.CancelFunc // not nil: it is being done
	hurried time.Time          // not zero: to be done again at this time, whatever do says
}

func newSchedule(limit int) *schedule {
	return &schedule{limit: limit, jobs: make(map[*job]struct{}), wake: make(chan struct{}, 1)}
}

// add has a job done at once, and again until it is removed.
func (s *schedule) add(do func(context.Context) time.Duration) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added++
	j := &job{do: do, number: s.added}
	s.jobs[j] = struct{}{}
	s.poke()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.jobs, j)
		if j.cancel != nil {
			j.cancel()
		}
	}
}

// hurry has all jobs done within a moment, whenever they are due.
func (s *schedule) hurry(within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for j := range s.jobs {
		at := now.Add(within/2 + rand.N(within/2+1))
		if j.cancel != nil {
			j.hurried = at
		} else if j.due.After(at) {
			j.due = at
		}
	}
	s.poke()
}

func (s *schedule) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run does the jobs until ctx ends, and returns once none is being done.
func (s *schedule) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(s.start(ctx, &wg))
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// start begins what is due, and says how long to wait for the next.
func (s *schedule) start(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for {
		var next *job
		soon := now.Add(time.Hour)
		for j := range s.jobs {
			if j.cancel != nil {
				continue
			}
			if j.due.Before(soon) {
				soon = j.due
			}
			if !j.due.After(now) && (next == nil || j.number > next.number) {
				next = j
			}
		}
		if s.busy >= s.limit {
			return time.Hour // until one is done
		}
		if next == nil {
			return max(soon.Sub(now), time.Millisecond)
		}
		s.busy++
		jctx, cancel := context.WithCancel(ctx)
		next.cancel = cancel
		wg.Go(func() {
			again := next.do(jctx)
			cancel()
			s.done(next, again)
		})
	}
}

func (s *schedule) done(j *job, again time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	j.cancel = nil
	j.due = time.Now().Add(again)
	if !j.hurried.IsZero() && j.hurried.Before(j.due) {
		j.due = j.hurried
	}
	j.hurried = time.Time{}
	if again < 0 {
		delete(s.jobs, j)
	}
	s.poke()
}

// jitter returns d, more or less by a tenth, so that what began together does not stay so.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// backoff doubles from first up to last.
type backoff struct{ first, last, next time.Duration }

func (b *backoff) wait() time.Duration {
	b.next = min(max(2*b.next, b.first), b.last)
	return b.next
}

func (b *backoff) reset() { b.next = 0 }

// mailbox hands what is put in to one reader after the other, in order, without
// keeping the sender waiting. When more than max wait, the oldest are lost.
type mailbox[T any] struct {
	mu     sync.Mutex
	max    int
	queue  []T
	busy   bool
	closed bool
}

// put adds values. spawn runs a function in a goroutine.
func (m *mailbox[T]) put(spawn func(func(context.Context)), read func([]T), vs ...T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(vs) == 0 {
		return
	}
	m.queue = append(m.queue, vs...)
	if over := len(m.queue) - m.max; over > 0 {
		m.queue = m.queue[over:]
	}
	if !m.busy {
		m.busy = true
		spawn(func(context.Context) { m.drain(read) })
	}
}

func (m *mailbox[T]) drain(read func([]T)) {
	for {
		m.mu.Lock()
		vs := m.queue
		m.queue = nil
		if len(vs) == 0 {
			m.busy = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		read(vs)
	}
}

// close has nothing more read.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.queue = true, nil
}
