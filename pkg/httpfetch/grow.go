package httpfetch

import (
	"math"
	"time"
)

// growth decides how many connections there should be. While the total rate
// grows it doubles them; then it tries now and then whether a few more bring
// something, or a few less lose nothing, and goes on in that direction, or goes
// back and waits longer before the next try.
//
// A connection over a long and lossy path carries only a part of the line, and
// needs many round trips to show what it can carry, so time is counted in round
// trips, and more of them are tried long before the first are at their best.
type growth struct {
	target int
	phase  phase
	since  time.Time // when the current measurement began
	bytes  int64     // and the bytes that had been received by then
	best   float64   // highest rate of a measurement while ramping
	base   float64   // rate before the probe
	flat   int       // measurements in a row without growth
	grew   bool      // there was growth, and nothing was added for it yet
	before int       // connections before the probe
	start  int       // there are never fewer
	less   bool      // the next probe, or the present one, is for fewer
	step   float64   // part of the connections to add in the next probe
	next   time.Time // when to probe again
	pause  time.Duration
}

type phase int

const (
	dialling phase = iota // nothing is known yet
	waiting               // for the first bytes
	ramping
	holding
	settling // their number was changed, and new ones are not at speed yet
	probing  // the rate is measured with that number
)

const (
	minPause = 2 * time.Second
	maxPause = time.Minute
	minStep  = 0.25
	maxStep  = 1.0
	// usefulPart is how many bytes a connection should have under way at least:
	// some ten packets.
	usefulPart = 16 << 10
	// longPath is the round-trip time from which a path is long: slow start then
	// takes so many round trips that more connections are no luxury.
	longPath = 5 * time.Millisecond
)

// load is what growth knows at one moment.
type load struct {
	now    time.Time
	bytes  int64         // received so far
	conns  int           // connections that are open
	rtt    time.Duration // largest of the mirrors in use
	hungry bool          // some connection had nothing to do since the last call
	limit  int           // connections that the caps allow
}

func newGrowth(start int) growth {
	return growth{target: start, start: start, pause: minPause, step: 2 * minStep}
}

// update takes what is known now and returns how many connections there should
// be.
func (g *growth) update(l load) int {
	if l.hungry && g.phase > waiting {
		// There was too little to do to measure anything.
		if g.phase == settling || g.phase == probing {
			g.target = g.before
		}
		if g.phase != ramping {
			g.phase, g.next = holding, l.now.Add(g.pause)
		}
		g.restart(l)
	}
	elapsed := l.now.Sub(g.since)
	switch g.phase {
	case dialling:
		if l.conns > 0 {
			g.phase = waiting
			g.lengthen(l)
		}
	case waiting:
		if l.bytes > 0 {
			g.phase = ramping
			g.lengthen(l)
			g.restart(l)
		}
	case ramping:
		g.ramp(l, elapsed)
	case holding:
		g.hold(l, elapsed)
	case settling:
		if elapsed >= rounds(l.rtt, 6, 500*time.Millisecond, 3*time.Second) {
			g.phase = probing
			g.restart(l)
		}
	case probing:
		if elapsed >= measureTime(l.rtt) {
			g.judge(l)
		}
	}
	g.target = max(1, min(g.target, l.limit))
	return g.target
}

// useful is how many connections find a worthwhile part of what is under way on
// a long path: with less than a few packets each they only take turns, lose what
// they cannot repeat soon, and are given up with data on its way. While each is
// still becoming faster, more of them seem to help.
func (g *growth) useful(rtt time.Duration) int {
	if rtt < longPath {
		return math.MaxInt
	}
	return 2*g.start + int(g.best*rtt.Seconds()/usefulPart)
}

// rounds is n round trips, within bounds.
func rounds(rtt time.Duration, n int, low, high time.Duration) time.Duration {
	return max(low, min(time.Duration(n)*rtt, high))
}

func measureTime(rtt time.Duration) time.Duration { return rounds(rtt, 10, time.Second, 4*time.Second) }

func (g *growth) restart(l load) { g.since, g.bytes = l.now, l.bytes }

// rate is that of the current measurement, in bytes/s.
func (g *growth) rate(l load) float64 {
	return float64(l.bytes-g.bytes) / max(l.now.Sub(g.since).Seconds(), 1e-3)
}

// lengthen doubles the connections of a long path before there is anything to
// measure.
func (g *growth) lengthen(l load) {
	if l.rtt >= longPath {
		g.target *= 2
	}
}

// ramp doubles while a measurement is a good deal better than the best before,
// as soon as the connections that were added last are open.
func (g *growth) ramp(l load, elapsed time.Duration) {
	ready := 4*l.conns >= 3*g.target
	if elapsed >= rounds(l.rtt, 2, 50*time.Millisecond, time.Second) {
		r := g.rate(l)
		g.restart(l)
		switch {
		case r >= g.best*1.2:
			// On a short path the first measurement says nothing about more of them.
			g.grew = g.best > 0 || l.rtt >= longPath
			g.best, g.flat = r, 0
		case ready:
			g.flat++
		}
	}
	switch {
	case g.grew && ready && g.target < g.useful(l.rtt):
		g.target = min(2*g.target, g.useful(l.rtt))
		g.grew = false
	case g.flat >= 3:
		g.phase, g.next = holding, l.now
		if l.rtt < longPath {
			g.next = l.now.Add(g.pause)
		}
	}
}

func (g *growth) hold(l load, elapsed time.Duration) {
	if elapsed < measureTime(l.rtt) {
		return
	}
	r := g.rate(l)
	if g.base > 0 && r < 0.75*g.base {
		// Something changed: what was learned no longer holds.
		g.pause = minPause
		if g.next.Sub(l.now) > g.pause {
			g.next = l.now.Add(g.pause)
		}
	}
	g.base = r
	g.restart(l)
	if l.now.Before(g.next) || 4*l.conns < 3*g.target {
		return
	}
	if g.target >= l.limit {
		g.less = true
	} else if g.target <= g.start {
		g.less = false
	}
	g.before = g.target
	if g.less {
		g.target = max(g.start, g.target-max(1, g.target/4))
	} else {
		g.target += max(1, int(float64(g.target)*g.step))
	}
	if g.target != g.before {
		g.phase = settling
	}
}

// judge keeps added connections when they brought a third of what as many did
// before, and leaves others away when hardly anything was lost with them.
func (g *growth) judge(l load) {
	r := g.rate(l)
	added := float64(g.target-g.before) / float64(g.before)
	keep := r >= g.base*(1+added/3)
	if g.less {
		keep = r >= g.base*0.93
	}
	g.phase = holding
	if keep {
		g.pause = minPause
		g.step = min(2*g.step, maxStep)
		g.next = l.now
	} else {
		g.target = g.before
		g.less = !g.less
		g.step = minStep
		g.pause = min(g.pause*2, maxPause)
		g.next = l.now.Add(g.pause)
	}
	g.base = r
	g.restart(l)
}
