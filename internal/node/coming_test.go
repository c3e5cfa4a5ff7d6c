package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestComingPapersAreWaitedFor: peers are asked when nobody is about to give a
// release's papers, and soon enough when one who was about to does not.
func TestComingPapersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c coming
		took := func(f func()) time.Duration {
			start := time.Now()
			f()
			return time.Since(start)
		}
		wait := func() { c.wait(t.Context(), "web", 7) }
		if d := took(wait); d != 0 {
			t.Errorf("waited %v for nobody", d)
		}
		defer c.begin("web", 6)()
		defer c.begin("other", 7)()
		if d := took(wait); d != 0 {
			t.Errorf("waited %v for other releases", d)
		}
		one, two := c.begin("web", 7), c.begin("web", 7)
		time.AfterFunc(time.Second, one)
		time.AfterFunc(2*time.Second, two)
		if d := took(wait); d < 2*time.Second || d > 3*time.Second {
			t.Errorf("waited %v for two of which the last ended after 2 s", d)
		}
		hangs := c.begin("web", 7)
		if d := took(wait); d != comingFor {
			t.Errorf("waited %v for one that hangs", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(func() { c.wait(ctx, "web", 7) }); d != time.Second {
			t.Errorf("waited %v beyond the end", d)
		}
		hangs()
		if len(c.count) != 2 {
			t.Errorf("%v is left", c.count)
		}
	})
}
