package limit

import (
	"sync"
	"time"
)

// Plan says how a limit depends on the time.
type Plan interface {
	// At is the limit at a time, in bytes a second and 0 for none, and when
	// another one may hold: the zero time when this one stays.
	At(now time.Time) (perSecond int64, next time.Time)
}

// lookAgain is the longest that a Timed sleeps before it looks at the clock
// again, which may have been set, or have gone on while the machine was
// suspended: timers notice neither.
const lookAgain = time.Minute

// Timed is a Bucket whose limit follows a plan. The zero value has no limit;
// its methods may be called from any goroutine. It has no goroutine of its own,
// and a timer only while it follows a plan in which something changes.
type Timed struct {
	Bucket
	// Switched, when set, is called after the plan has changed the limit.
	Switched func(perSecond int64)
	// Now replaces time.Now, when set. Plans see the time of its location.
	Now func() time.Time

	mu    sync.Mutex
	plan  Plan
	timer *time.Timer
}

// Follow sets the limit that the plan has now, and then each as its time comes,
// until another plan is followed or Stop is called.
func (t *Timed) Follow(p Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan = p
	t.apply()
}

// Stop leaves the limit as it is.
func (t *Timed) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan = nil
	if t.timer != nil {
		t.timer.Stop()
	}
}

// apply sets what the plan says now, and the timer to when it should be asked
// again. The lock is held.
func (t *Timed) apply() {
	now := t.now()
	perSecond, next := t.plan.At(now)
	if perSecond != t.Limit() {
		t.Set(perSecond)
	}
	switch {
	case next.IsZero() && t.timer != nil:
		t.timer.Stop()
	case next.IsZero():
	case t.timer == nil:
		t.timer = time.AfterFunc(untilSoon(now, next), t.ring)
	default:
		t.timer.Reset(untilSoon(now, next))
	}
}

func untilSoon(now, next time.Time) time.Duration {
	return min(lookAgain, max(0, next.Sub(now)))
}

// ring looks at the clock.
func (t *Timed) ring() {
	t.mu.Lock()
	before := t.Limit()
	if t.plan != nil {
		t.apply()
	}
	after := t.Limit()
	t.mu.Unlock()
	if before != after && t.Switched != nil {
		t.Switched(after)
	}
}

// now is the time as the clock on the wall has it: without the monotonic one,
// which goes on when the wall's is set.
func (t *Timed) now() time.Time {
	if t.Now != nil {
		return t.Now().Round(0)
	}
	return time.Now().Round(0)
}
