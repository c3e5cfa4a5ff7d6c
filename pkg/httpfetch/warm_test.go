package httpfetch

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWarmConnectionsAreWaitedFor: who needs a connection takes one that is being
// opened, and no other is dialled for it.
func TestWarmConnectionsAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		n := newNet()
		n.delay = 40 * time.Millisecond
		h := n.host(t, "m", good(s))
		c := NewClient(ClientConfig{Dial: n.dial})
		u, err := parseBase("http://m/data.bin")
		if err != nil {
			t.Fatal(err)
		}
		c.Warm("http://m/data.bin", 12)
		c.Warm("http://m/data.bin", 12) // they are there already, or soon
		time.Sleep(50 * time.Millisecond)
		if w := c.waiting(u); w != 12 {
			t.Errorf("%d connections are open or on their way, want 12", w)
		}
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				k, err := c.get(t.Context(), u)
				if err != nil {
					t.Error(err)
					return
				}
				_ = k.Close()
			})
		}
		wg.Wait()
		if d := h.dialled(); d != 12 {
			t.Errorf("%d connections were dialled for 12", d)
		}

		// One who gives up leaves the connection to the next, and a failure to
		// nobody.
		c.Warm("http://m/data.bin", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.get(ctx, u); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a connection ended with %v", err)
		}
		time.Sleep(time.Second)
		if w := c.waiting(u); w != 1 {
			t.Errorf("%d connections are kept, want the one that was given up", w)
		}
		h.setDown(true)
		c.Warm("http://m/data.bin", 3)
		synctest.Wait()
		for range 4 { // the kept one, and three that fail
			if k, err := c.get(t.Context(), u); err == nil {
				_ = k.Close()
			}
		}
		if len(c.warming)+len(c.waiters) != 0 {
			t.Errorf("left over: %v, %v", c.warming, c.waiters)
		}
		c.Warm("http://m/data.bin", 3)
		if err := c.Close(); err != nil { // ends them
			t.Error(err)
		}
	})
}

// TestWarmingTwiceOpensNoMore: two who warm up one host at the same time learn
// at the same time that its path is long, and fill up once.
func TestWarmingTwiceOpensNoMore(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			n := newNet()
			n.delay = 40 * time.Millisecond
			h := n.host(t, "m", good(single(t, 1<<20, 64<<10)))
			c := NewClient(ClientConfig{Dial: n.dial, MaxIdle: 64})
			c.Warm("http://m/data.bin", 64)
			c.Warm("http://m/data.bin", 64)
			time.Sleep(time.Second)
			if d := h.dialled(); d != 64 {
				t.Errorf("%d connections were dialled, want 64", d)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
