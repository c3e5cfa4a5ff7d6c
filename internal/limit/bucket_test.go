package limit

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is n goroutines that take portions until ctx ends; it counts what each
// was given.
func crowd(ctx context.Context, n int, l interface {
	WaitN(context.Context, int) error
	Burst() int
}) []atomic.Int64 {
	got := make([]atomic.Int64, n)
	for i := range got {
		go func() {
			for {
				k := min(l.Burst(), 16<<10)
				if l.WaitN(ctx, k) != nil {
					return
				}
				got[i].Add(int64(k))
			}
		}()
	}
	return got
}

func sum(got []atomic.Int64) (total int64) {
	for i := range got {
		total += got[i].Load()
	}
	return total
}

// near fails unless got is within a twentieth of want.
func near(t *testing.T, what string, got, want int64) {
	t.Helper()
	if d := math.Abs(float64(got - want)); d > float64(want)/20 {
		t.Errorf("%s: %d, want %d", what, got, want)
	}
}

func TestRateAndFairness(t *testing.T) {
	for _, limit := range []int64{16 << 10, 1 << 20, 20 << 20} {
		synctest.Test(t, func(t *testing.T) {
			var b Bucket
			b.Set(limit)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := crowd(ctx, 7, &b)
			const seconds = 100
			time.Sleep(seconds * time.Second)
			synctest.Wait()
			near(t, "bytes of all", sum(got), seconds*limit)
			near(t, "the bucket's own count", b.Taken(), sum(got))
			for i := range got {
				if d := got[i].Load() - sum(got)/7; max(d, -d) > max(sum(got)/7/20, 2*minPortion) {
					t.Errorf("one of seven got %d bytes of %d", got[i].Load(), sum(got))
				}
			}
		})
	}
}

// TestBothLimitsHold: two channels below the limit of the node.
func TestBothLimitsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var node, web, other Bucket
		node.Set(4 << 20)
		web.Set(1 << 20)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		slow, fast := crowd(ctx, 3, All{&web, &node}), crowd(ctx, 3, All{&other, &node})
		time.Sleep(100 * time.Second)
		synctest.Wait()
		near(t, "the channel with a limit", sum(slow), 100<<20)
		near(t, "the channel without", sum(fast), 300<<20)
		web.Set(0)
		before := sum(slow)
		time.Sleep(100 * time.Second)
		synctest.Wait()
		near(t, "the same without its limit", sum(slow)-before, 200<<20)
	})
}

// TestChangeWhileWaiting: a new rate holds for who waits already.
func TestChangeWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		b.Set(16 << 10)
		const n = 16 << 20 // 1,024 s
		for _, c := range []struct {
			limit int64
			want  time.Duration
		}{{16 << 20, time.Second}, {64 << 10, 256 * time.Second}, {0, 0}} {
			b.Set(16 << 10)
			done := make(chan error)
			go func() { done <- b.WaitN(t.Context(), n) }()
			time.Sleep(time.Second)
			b.Set(c.limit)
			start := time.Now()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); math.Abs(float64(took-c.want)) > float64(c.want)/20 {
				t.Errorf("limit changed to %d: waited for %v more, want %v", c.limit, took, c.want)
			}
		}
	})
}

func TestNoLimitNeverWaits(t *testing.T) {
	var b Bucket
	for range 1000 {
		if ready, _ := b.Ask(1 << 30); ready != nil {
			t.Fatal("has to wait where there is no limit")
		}
	}
	if b.Burst() != math.MaxInt || b.Taken() != 0 {
		t.Errorf("burst %d, taken %d", b.Burst(), b.Taken())
	}
	if n := testing.AllocsPerRun(100, func() { b.Ask(1 << 20) }); n > 0 {
		t.Errorf("%v allocations where there is no limit", n)
	}
}

// TestLeaving: who gives up does not hold up those behind, and what was not
// given is not taken.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		b.Set(16 << 10)
		b.Ask(16 << 10) // what was saved up
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		first := make(chan error)
		go func() { first <- b.WaitN(ctx, 16<<10) }()
		synctest.Wait()
		start := time.Now()
		second, _ := b.Ask(8 << 10)
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting ended with %v", err)
		}
		<-second
		if took := time.Since(start); took > 600*time.Millisecond {
			t.Errorf("the second had to wait for %v", took)
		}
		if b.Taken() != 24<<10 {
			t.Errorf("%d bytes taken", b.Taken())
		}
	})
}
