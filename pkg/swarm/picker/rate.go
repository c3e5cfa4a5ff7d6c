package picker

import (
	"math"
	"time"
)

// rateWindow is how far back a rate looks. Shorter windows see the bursts of
// single blocks, longer ones do not notice a peer that has stopped.
const rateWindow = time.Second

// Rate estimates bytes a second as an exponentially weighted mean that is
// corrected for its short past: a peer's first blocks count in full.
type Rate struct {
	sum   float64 // bytes, decayed
	first time.Duration
	last  time.Duration
	begun bool
}

// Add counts n bytes at time now.
func (r *Rate) Add(n int, now time.Duration) {
	if !r.begun {
		r.begun, r.first, r.last = true, now, now
	}
	r.sum = r.sum*decay(now-r.last) + float64(n)
	r.last = max(now, r.last)
}

// At is the rate in bytes a second at time now.
func (r *Rate) At(now time.Duration) float64 {
	if !r.begun {
		return 0
	}
	// Under 50 ms of past a single block would look like a fast link.
	age := max(now-r.first, 50*time.Millisecond)
	return r.sum * decay(now-r.last) / (rateWindow.Seconds() * (1 - decay(age)))
}

func decay(d time.Duration) float64 {
	if d <= 0 {
		return 1
	}
	return math.Exp(-d.Seconds() / rateWindow.Seconds())
}
