package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hours is a plan that changes at each full hour: the limit is the hour.
type hours struct{ asked atomic.Int64 }

func (h *hours) At(now time.Time) (int64, time.Time) {
	h.asked.Add(1)
	return 1000 * int64(now.Hour()), now.Truncate(time.Hour).Add(time.Hour)
}

// fixed is a plan in which nothing changes.
type fixed int64

func (f fixed) At(time.Time) (int64, time.Time) { return int64(f), time.Time{} }

// TestTimedSwitches: the limit changes to the moment, for those too that wait,
// and the clock is not looked at more than once a minute.
func TestTimedSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Timed
		told := make(chan int64, 10)
		b.Switched = func(perSecond int64) { told <- perSecond }
		plan := &hours{}
		time.Sleep(30 * time.Minute) // it is half past midnight
		b.Follow(plan)
		for h := int64(0); h < 5; h++ {
			time.Sleep(30*time.Minute - time.Nanosecond)
			if b.Limit() != 1000*h {
				t.Errorf("just before %d o'clock: %d", h+1, b.Limit())
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if b.Limit() != 1000*(h+1) {
				t.Errorf("at %d o'clock: %d", h+1, b.Limit())
			}
			time.Sleep(30 * time.Minute)
		}
		for h := int64(1); h <= 5; h++ {
			if got := <-told; got != 1000*h {
				t.Errorf("told of %d, want %d", got, 1000*h)
			}
		}
		if most := int64(5*60 + 10); len(told) > 0 || plan.asked.Load() > most {
			t.Errorf("told %d times more, and the plan was asked %d times in 5 hours, want %d at most", len(told), plan.asked.Load(), most)
		}
	})
}

// TestTimedWaiters: a switch holds for those that wait for the limit.
func TestTimedWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Timed
		time.Sleep(time.Hour - time.Second)
		start := time.Now()
		b.Follow(switchAt{start.Add(time.Second), 1 << 10, 1 << 20})
		if err := b.WaitN(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		// A second brings next to nothing, and then it takes another one.
		if took := time.Since(start); took < 19*time.Second/10 || took > 21*time.Second/10 {
			t.Errorf("took %v, want 2s", took)
		}
	})
}

type switchAt struct {
	when          time.Time
	before, after int64
}

func (s switchAt) At(now time.Time) (int64, time.Time) {
	if now.Before(s.when) {
		return s.before, s.when
	}
	return s.after, time.Time{}
}

// TestTimedClockIsSet: a clock that is put forward or back is noticed within a
// minute.
func TestTimedClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ahead time.Duration
		b := Timed{Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}}
		time.Sleep(2*time.Hour + 10*time.Minute)
		b.Follow(&hours{})
		for _, c := range []struct {
			by   time.Duration
			want int64
		}{{5 * time.Hour, 7000}, {-3 * time.Hour, 4000}, {-26 * time.Hour, 2000}} {
			mu.Lock()
			ahead += c.by
			mu.Unlock()
			time.Sleep(time.Minute)
			synctest.Wait()
			if b.Limit() != c.want {
				t.Errorf("a minute after the clock was set by %v: %d, want %d", c.by, b.Limit(), c.want)
			}
		}
	})
}

// TestTimedStops: what is followed no more sets nothing.
func TestTimedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Timed
		plan := &hours{}
		b.Follow(plan)
		b.Follow(fixed(77))
		asked := plan.asked.Load()
		time.Sleep(3 * time.Hour)
		if b.Limit() != 77 || plan.asked.Load() != asked {
			t.Errorf("limit %d, and the plan that was followed before was asked %d times more", b.Limit(), plan.asked.Load()-asked)
		}
		b.Follow(plan)
		b.Stop()
		asked = plan.asked.Load()
		time.Sleep(3 * time.Hour)
		if b.Limit() != 3000 || plan.asked.Load() != asked {
			t.Errorf("limit %d, and the plan was asked %d times after the end", b.Limit(), plan.asked.Load()-asked)
		}
		b.Follow(fixed(0))
		if b.Limit() != 0 {
			t.Errorf("limit %d, want none", b.Limit())
		}
	})
}
