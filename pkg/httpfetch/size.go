package httpfetch

import "time"

const (
	// runTime is how long one request should last, in the middle of a download.
	runTime = 1500 * time.Millisecond
	// firstRun is asked of a connection whose rate is not known.
	firstRun = 256 << 10
	minRun   = 32 << 10
	maxRun   = 32 << 20
	// askTime is how long one request of a run should last.
	askTime = 250 * time.Millisecond
	minAsk  = 64 << 10
	// cutGain is how much sooner a run must end for an answer to be ended that is
	// being received.
	cutGain = 300 * time.Millisecond
	// minSteal is the least that is worth a request of its own at the end.
	minSteal = 16 << 10
	// stuckTime is how long a run may still take before it is split though there
	// is other work.
	stuckTime = 5 * time.Second
)

// runSize is how many bytes to give a connection of the given rate next, when
// left bytes are not given to anyone yet and all connections together carry
// total. Towards the end the runs become shorter, so that all end together.
func runSize(rate, total float64, rtt time.Duration, left int64) int64 {
	if rate <= 0 {
		return max(minRun, min(firstRun, left/8))
	}
	t := runTime
	if total > 0 {
		rest := time.Duration(float64(left) / total * float64(time.Second))
		t = max(min(t, rest/2), 2*rtt, 50*time.Millisecond)
	}
	return max(minRun, min(int64(rate*t.Seconds()), maxRun))
}

// askSize is how many bytes one request of a connection of the given rate asks
// for. A run is asked for in several requests, sent ahead, so that what was not
// asked for yet can go to another connection at the end: that costs nothing,
// while ending an answer throws away what is on its way.
func askSize(rate float64, rtt time.Duration) int64 {
	if rate <= 0 {
		return firstRun
	}
	return max(minAsk, min(int64(rate*max(askTime, 2*rtt).Seconds()), maxRun))
}

// progress is a run that another connection might take a part of.
type progress struct {
	pos, busy, end int64   // received up to pos, a read fills up to busy
	asked          int64   // requested up to here
	rate           float64 // of its connection, bytes/s
	ahead          int64   // bytes that its connection is to receive before
	// stall is for how long nothing has come, when that is longer than usual. It
	// is taken to last as long again.
	stall time.Duration
}

// finish is how long the run will take from now on.
func (p progress) finish() time.Duration { return p.stall + transfer(p.ahead+p.end-p.pos, p.rate) }

// transfer is how long n bytes take. A rate of nothing counts as some bytes a
// second, so that comparisons stay ones of numbers.
func transfer(n int64, rate float64) time.Duration {
	return time.Duration(min(float64(n)/max(rate, 64), 1e6) * float64(time.Second))
}

// split says what a connection without work takes from a run: everything from
// cut on, such that both end together, or the whole run (abort), when its
// connection is stuck with what it is reading just now. It is not ok when taking
// something would not end the download sooner. latency is what the taker needs
// before its first byte comes.
func split(v progress, taker float64, latency time.Duration) (cut int64, abort, ok bool) {
	rest := v.end - v.pos
	slow := max(v.rate, 64)
	if taker <= 0 {
		taker = slow
	}
	take := int64((v.finish() - latency).Seconds() * slow * taker / (slow + taker))
	take = max(0, min(take, v.end-v.busy))
	kept, free := v, v
	kept.end -= take
	free.end = min(v.end, max(kept.end, v.asked))
	if free.finish()-kept.finish() < cutGain {
		kept, take = free, v.end-free.end
	}
	alone := latency + transfer(rest, taker)
	switch {
	case v.ahead == 0 && kept.finish() > 2*alone+cutGain:
		return v.pos, true, true
	case take < minSteal:
		return 0, false, false
	}
	return v.end - take, false, true
}
