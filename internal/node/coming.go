package node

import (
	"context"
	"sync"
	"time"
)

// comingFor is how long papers that are on their way from an upstream keep peers
// from being asked for the same.
const comingFor = 10 * time.Second

// coming knows of which releases the papers are on their way from upstreams. Those
// of a large tree take a while, and much memory: once at a time is enough.
type coming struct {
	mu    sync.Mutex
	count map[comingKey]int
}

type comingKey struct {
	channel string
	serial  uint64
}

// begin notes a release until the function that it returns is called.
func (c *coming) begin(channel string, serial uint64) (end func()) {
	key := comingKey{channel, serial}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[comingKey]int{}
	}
	c.count[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.count[key]--; c.count[key] == 0 {
			delete(c.count, key)
		}
	}
}

func (c *coming) has(channel string, serial uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[comingKey{channel, serial}] > 0
}

// wait returns when no papers of the release are on their way any more, or have been
// for too long: a server that hangs must not hold up what others have.
func (c *coming) wait(ctx context.Context, channel string, serial uint64) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(comingFor)
	for c.has(channel, serial) {
		select {
		case <-ctx.Done():
			return
		case <-late:
			return
		case <-tick.C:
		}
	}
}
