package tracker

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// maxInterval bounds what load can stretch an interval to, in seconds, unless
// the configured one is longer.
const maxInterval = 3600

// peersPerStep is how many peers a swarm may have until its shortest interval
// grows by once MinInterval: large swarms find each other with fewer questions,
// and n peers must not mean n announces every MinInterval.
const peersPerStep = 50

// interval returns what a peer is asked to wait, and the least it may, in
// seconds. quiet is how long the swarm has not changed, n its size.
//
// A leech is asked back after as long as the swarm has been quiet, so that it
// comes at 2, 4, 8, 16... seconds: soon while there is something to learn, and
// only some eight times until the normal interval. A seed is found by those who
// come after it and has nothing to learn. stretch (1 or more) is the load's.
//
// aria2 takes the min interval for the interval, so both must grow.
func (c *Config) interval(quiet, n int, seed bool, stretch float64) (interval, least int) {
	lo, hi := seconds(c.MinInterval), seconds(c.Interval)
	wait := hi
	if !seed {
		wait = min(max(quiet, lo*(1+n/peersPerStep)), hi)
	}
	f := float64(wait) * stretch
	if lo < hi || stretch > 1 {
		f *= 1 + rand.Float64()/4 // peers that came together shall not come back together
	}
	wait = max(min(int(f+rand.Float64()), max(hi, maxInterval)), lo)
	return wait, max(lo, wait/2)
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// load measures announces a second without a lock; a count lost to a race at
// the turn of a second does not matter.
type load struct {
	second atomic.Int64
	count  atomic.Int64
	milli  atomic.Int64 // smoothed rate, thousandths
}

// add counts an announce in second now and returns the rate.
func (l *load) add(now int32) float64 {
	l.count.Add(1)
	return l.rate(now)
}

func (l *load) rate(now int32) float64 {
	s := l.second.Load()
	if gap := int64(now) - s; gap > 0 && l.second.CompareAndSwap(s, int64(now)) {
		last := float64(l.count.Swap(0)) * 1000
		old := float64(l.milli.Load())
		for range min(gap-1, 20) { // seconds without any
			old *= 0.75
		}
		l.milli.Store(int64(old*0.75 + last*0.25))
	}
	return float64(l.milli.Load()) / 1000
}

// stretch returns the factor of intervals at a rate of announces from so many
// peers. The rate alone would be too little: it falls as intervals grow, and so
// would settle halfway. What the peers would make of the normal interval says
// how far to go, and the rate counts where they come more often than that.
func (c *Config) stretch(rate float64, peers int64) float64 {
	normal := float64(peers) / c.Interval.Seconds()
	return max(1, max(rate, normal)/float64(c.TargetRate))
}
