// Package limit bounds rates of bytes: a Bucket is one limit, which may be
// changed while it is in use, and All is several that apply together.
package limit

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what is asked for at once. Small portions go round fairly, and
// large ones cost less.
const (
	minPortion = 16 << 10
	maxPortion = 64 << 10
)

// burstTime is how much of its rate a bucket saves up while nobody takes.
const burstTime = 50 * time.Millisecond

// Bucket bounds a rate of bytes. Who asks is served in turn. The zero value has
// no limit; its methods may be called from any goroutine.
type Bucket struct {
	limit atomic.Int64 // bytes a second, 0: none
	taken atomic.Int64

	mu     sync.Mutex
	tokens *rate.Limiter
	line   []*waiter
	timer  *time.Timer // runs while somebody is in line
}

// waiter is a place in line.
type waiter struct {
	left  int // bytes that are still to be had
	ready chan struct{}
}

// Set changes the limit to so many bytes a second, 0 for none. It holds at once
// for those that wait already.
func (b *Bucket) Set(perSecond int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.limit.Swap(max(perSecond, 0))
	now := time.Now()
	limit, burst := rate.Limit(perSecond), depth(perSecond)
	switch {
	case perSecond <= 0:
		b.tokens = nil
	case before == 0:
		b.tokens = rate.NewLimiter(limit, burst)
	default:
		b.tokens.SetLimitAt(now, limit)
		b.tokens.SetBurstAt(now, burst)
	}
	b.serve(now)
}

// Limit is what Set has set, in bytes a second; 0 is no limit.
func (b *Bucket) Limit() int64 { return b.limit.Load() }

// Taken is the number of bytes that were let through while there was a limit.
func (b *Bucket) Taken() int64 { return b.taken.Load() }

// depth is the most that a bucket of this rate holds, in bytes.
func depth(perSecond int64) int {
	return int(max(minPortion, min(math.MaxInt32, float64(perSecond)*burstTime.Seconds())))
}

// Burst is how many bytes should be asked for at once, at most. It is
// math.MaxInt when there is no limit.
func (b *Bucket) Burst() int {
	perSecond := b.limit.Load()
	if perSecond == 0 {
		return math.MaxInt
	}
	return min(maxPortion, depth(perSecond))
}

// Ask asks for n bytes. ready is nil when they may pass now, and else is closed
// when they may; cancel gives up the place in line.
func (b *Bucket) Ask(n int) (ready <-chan struct{}, cancel func()) {
	if b.limit.Load() == 0 {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &waiter{left: n}
	if len(b.line) == 0 && b.give(w, time.Now()) {
		return nil, nil
	}
	w.ready = make(chan struct{})
	b.line = append(b.line, w)
	if len(b.line) == 1 {
		b.wind(time.Now())
	}
	return w.ready, func() { b.leave(w) }
}

// Waiting reports whether somebody waits for the limit.
func (b *Bucket) Waiting() bool {
	if b.limit.Load() == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.line) > 0
}

// WaitN waits until n bytes may pass, or ctx ends and gives its error. What needs
// no waiting passes whatever ctx says.
func (b *Bucket) WaitN(ctx context.Context, n int) error {
	ready, cancel := b.Ask(n)
	if ready == nil {
		return nil
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		cancel()
		return ctx.Err()
	}
}

// give lets the waiter have what there is, and says whether that was all.
func (b *Bucket) give(w *waiter, now time.Time) bool {
	for w.left > 0 && b.tokens != nil {
		k := min(w.left, b.tokens.Burst())
		if !b.tokens.AllowN(now, k) {
			return false
		}
		w.left -= k
		b.taken.Add(int64(k))
	}
	return true
}

// serve lets through those in line for whom there is enough.
func (b *Bucket) serve(now time.Time) {
	n := 0
	for n < len(b.line) && b.give(b.line[n], now) {
		close(b.line[n].ready)
		n++
	}
	b.line = slices.Delete(b.line, 0, n)
	b.wind(now)
}

// wind sets the timer to when there is enough for the first in line.
func (b *Bucket) wind(now time.Time) {
	if len(b.line) == 0 {
		if b.timer != nil {
			b.timer.Stop()
		}
		return
	}
	lacking := float64(min(b.line[0].left, b.tokens.Burst())) - b.tokens.TokensAt(now)
	// A microsecond more, so that rounding does not make it come too early.
	wait := time.Duration(lacking/float64(b.tokens.Limit())*float64(time.Second)) + time.Microsecond
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, b.ring)
		return
	}
	b.timer.Reset(wait)
}

func (b *Bucket) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve(time.Now())
}

func (b *Bucket) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.line, w); i >= 0 {
		b.line = slices.Delete(b.line, i, i+1)
		b.serve(time.Now())
	}
}

// All is limits of which each must let the bytes through.
type All []*Bucket

// Burst is the least of the buckets'.
func (a All) Burst() int {
	least := math.MaxInt
	for _, b := range a {
		least = min(least, b.Burst())
	}
	return least
}

// WaitN waits until n bytes may pass each of the buckets in turn, or ctx ends
// and gives its error.
func (a All) WaitN(ctx context.Context, n int) error {
	for _, b := range a {
		if err := b.WaitN(ctx, n); err != nil {
			return err
		}
	}
	return nil
}
