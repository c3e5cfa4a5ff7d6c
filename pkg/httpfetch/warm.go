package httpfetch

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"
)

// warmFew is how many connections Warm opens before it knows the path.
const warmFew = 4

// Warm has connections to the host of rawurl opened for what comes next, so that
// their handshakes run beside a probe: until there are n over a long path, and a
// few over a short one. It does not wait for them; who needs a connection does
// so, as one that is being opened is there sooner than a new one. Failures are
// left to those.
func (c *Client) Warm(rawurl string, n int) {
	u, err := parseBase(rawurl)
	if err != nil {
		return
	}
	n = min(n, c.cfg.MaxIdle)
	var more sync.Once
	c.warmUp(u, n, warmFew, func(rtt time.Duration) {
		if rtt >= longPath {
			more.Do(func() { c.warmUp(u, n, n, nil) })
		}
	})
}

// warmUp opens connections until there are n, but not more than few at once, and
// leaves them to whoever waits for one. It counts and opens under one lock: two
// who warm up the same host do not open the same connection twice.
func (c *Client) warmUp(u *url.URL, n, few int, connected func(rtt time.Duration)) {
	key := hostKey(u)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return
	}
	for range min(n-len(c.idle[key])-c.warming[key], few) {
		c.warming[key]++
		c.warm.Go(func() {
			k, err := c.dial(c.ctx, u, connected)
			if err != nil {
				k = nil
			}
			c.landed(key, k)
		})
	}
}

// landed hands on what came of opening a connection; nil is nothing.
func (c *Client) landed(key string, k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warming[key]--; c.warming[key] == 0 {
		delete(c.warming, key)
	}
	if w := c.waiters[key]; len(w) > 0 {
		w[0] <- k // has room
		c.leave(key, w[0])
	} else if k != nil {
		c.keep(k)
	}
}

// leave takes a waiter out of the line. The lock is held.
func (c *Client) leave(key string, ch chan *conn) {
	c.waiters[key] = slices.DeleteFunc(c.waiters[key], func(o chan *conn) bool { return o == ch })
	if len(c.waiters[key]) == 0 {
		delete(c.waiters, key)
	}
}

// get returns a connection for u: a kept one, or one that is being opened and
// that nobody else waits for, or a new one.
func (c *Client) get(ctx context.Context, u *url.URL) (*conn, error) {
	key := hostKey(u)
	c.mu.Lock()
	if k := c.kept(key); k != nil {
		c.mu.Unlock()
		return k, nil
	}
	if c.warming[key] <= len(c.waiters[key]) {
		c.mu.Unlock()
		return c.dial(ctx, u, nil)
	}
	ch := make(chan *conn, 1)
	c.waiters[key] = append(c.waiters[key], ch)
	c.mu.Unlock()
	select {
	case k := <-ch:
		if k != nil {
			return k, nil
		}
		return c.dial(ctx, u, nil) // which says why it cannot be had
	case <-ctx.Done():
	}
	c.mu.Lock()
	c.leave(key, ch)
	c.mu.Unlock()
	select {
	case k := <-ch: // it came at the same moment
		if k != nil {
			c.put(k)
		}
	default:
	}
	return nil, ctx.Err()
}

// kept is an idle connection, or nil. The lock is held.
func (c *Client) kept(key string) *conn {
	for list := c.idle[key]; len(list) > 0; list = c.idle[key] {
		k := list[len(list)-1]
		c.idle[key] = list[:len(list)-1]
		if k.expire.Stop() {
			return k
		}
	}
	return nil
}

// waiting is the number of connections that are kept for the host of u, or are
// being opened for it.
func (c *Client) waiting(u *url.URL) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle[hostKey(u)]) + c.warming[hostKey(u)]
}
