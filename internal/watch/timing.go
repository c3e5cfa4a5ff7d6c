package watch

import (
	"fmt"
	"time"
)

// markerDelay joins the several events of one touch.
const markerDelay = 100 * time.Millisecond

// timing decides when a tree is to be published. It has no clock: times are
// handed in.
type timing struct {
	settle, max time.Duration
	onDemand    bool // changes alone are no reason

	asked     time.Time // when to publish whatever the tree does; zero: not
	why       string
	force     bool // of asked: in a pause too
	failures  int  // tries in a row that may be repeated
	notBefore time.Time
}

// ask has the tree published at a time, unless it was asked for before.
func (t *timing) ask(at time.Time, why string) {
	if t.asked.IsZero() {
		t.asked, t.why = at, why
	}
}

// insist has it published now.
func (t *timing) insist(now time.Time, why string) {
	t.asked, t.why, t.force, t.notBefore = now, why, true, time.Time{}
}

func (t *timing) insisted() bool { return t.force }

// at says when it is time, for a tree that changed first and last at these
// times (zero: it did not), and false when there is no reason at all.
func (t *timing) at(first, last time.Time) (time.Time, bool) {
	at := t.asked
	if !first.IsZero() && !t.onDemand {
		quiet := earlier(last.Add(t.settle), first.Add(t.max))
		if at.IsZero() || quiet.Before(at) {
			at = quiet
		}
	}
	if at.IsZero() {
		return at, false
	}
	if at.Before(t.notBefore) {
		at = t.notBefore
	}
	return at, true
}

// due says whether it is time, and why in words; "" stands for changes that
// have settled.
func (t *timing) due(now, first, last time.Time) (why string, due bool) {
	at, ok := t.at(first, last)
	if !ok || now.Before(at) {
		return "", false
	}
	if !t.asked.IsZero() && !now.Before(t.asked) {
		return t.why, true
	}
	return "", true
}

// begin says that a try has begun: what was asked for is being done.
func (t *timing) begin() { t.asked, t.why, t.force = time.Time{}, "", false }

// succeeded and refused say how it ended; again says that it is to be tried
// once more, later each time, up to the longest delay.
func (t *timing) succeeded() { t.failures, t.notBefore = 0, time.Time{} }
func (t *timing) refused()   { t.succeeded() }

func (t *timing) again(now time.Time, why string) {
	wait := t.max
	if t.failures < 16 {
		wait = min(t.settle<<t.failures, t.max)
	}
	t.failures++
	t.notBefore = now.Add(wait)
	if why != "" {
		t.ask(t.notBefore, why)
	}
}

// settledAfter says in words how long a tree has changed before it was time.
func (t *timing) settledAfter(now, first, last time.Time) string {
	if now.Sub(last) < t.settle {
		return fmt.Sprintf("still changing after %.1f s", now.Sub(first).Seconds())
	}
	return fmt.Sprintf("settled after %.1f s", now.Sub(first).Seconds())
}
