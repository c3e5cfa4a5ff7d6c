package dht

import (
	"net/netip"
	"sync"
	"time"
)

// limits bounds how many packets are looked at: of each address, and in all.
type limits struct {
	mu    sync.Mutex
	one   pace // of an address
	all   pace
	sum   bucket
	each  map[netip.Addr]*bucket
	max   int // addresses that are told apart
	swept time.Time
}

// pace is what a bucket holds, and how fast it fills, in packets and seconds.
type pace struct{ rate, burst float64 }

// sweepPause keeps those who fill a table from making its owner go through it all the time.
const sweepPause = time.Second

type bucket struct {
	spent float64
	at    time.Time
}

func newLimits(one, all pace) *limits {
	return &limits{one: one, all: all, each: make(map[netip.Addr]*bucket), max: 8192}
}

// take lets a packet of a through, or not.
func (l *limits) take(a netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.each[a]
	if b == nil {
		if len(l.each) >= l.max && !l.sweep(now) {
			return false
		}
		b = &bucket{at: now}
		l.each[a] = b
	}
	// The address first: one that floods must not use up what is for all.
	return b.take(l.one, now) && l.sum.take(l.all, now)
}

// sweep forgets addresses whose bucket is full, and says whether there was one.
func (l *limits) sweep(now time.Time) bool {
	if now.Sub(l.swept) < sweepPause {
		return false
	}
	l.swept = now
	for a, b := range l.each {
		if b.drain(l.one, now); b.spent == 0 {
			delete(l.each, a)
		}
	}
	return len(l.each) < l.max
}

func (b *bucket) drain(p pace, now time.Time) {
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.spent = max(0, b.spent-d*p.rate)
	}
	b.at = now
}

func (b *bucket) take(p pace, now time.Time) bool {
	b.drain(p, now)
	if b.spent+1 > p.burst {
		return false
	}
	b.spent++
	return true
}
