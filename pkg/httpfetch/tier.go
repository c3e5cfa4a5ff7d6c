package httpfetch

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// health is what is known of a mirror's conduct. A mirror counts as failing from
// its first failure until one of its pieces verifies: one that answers, but
// never with good bytes, keeps failing.
type health struct {
	failingSince time.Time // zero: not failing
	until        time.Time // not to be used before
	fails        int       // in a row
	class        class     // of the last failure
	last         error
	pace         [len(classNames)]*backoff.ExponentialBackOff
}

// pauses are how long a mirror is left alone after a failure of each class: at
// first, and at the most.
var pauses = [len(classNames)][2]time.Duration{
	soft:   {300 * time.Millisecond, 30 * time.Second},
	busy:   {time.Second, time.Minute},
	absent: {5 * time.Second, 5 * time.Minute},
	liar:   {30 * time.Second, 30 * time.Minute},
	poison: {5 * time.Minute, time.Hour},
}

// failed notes a failure and returns how long the mirror is left alone. When
// several connections fail at once, that is one failure.
func (h *health) failed(now time.Time, f *fault) time.Duration {
	if rest := h.until.Sub(now); rest > 0 && f.class <= h.class && f.wait <= rest {
		return rest
	}
	if h.failingSince.IsZero() {
		h.failingSince = now
	}
	h.fails++
	h.class, h.last = f.class, f
	if h.pace[f.class] == nil {
		h.pace[f.class] = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(pauses[f.class][0]),
			backoff.WithMaxInterval(pauses[f.class][1]),
			backoff.WithMultiplier(2),
			backoff.WithMaxElapsedTime(0))
	}
	wait := max(h.pace[f.class].NextBackOff(), f.wait)
	if until := now.Add(wait); until.After(h.until) {
		h.until = until
	}
	return wait
}

// verified notes that bytes of the mirror were right, and says whether it has
// proved itself again by that. While it is left alone for a lie it has not: they
// were on their way before. What it had lied about is not forgotten: the next lie
// is paid for with a longer pause.
func (h *health) verified(now time.Time) (again bool) {
	if h.class >= liar && now.Before(h.until) {
		return false
	}
	again = h.onTrial()
	if h.class <= busy {
		h.until = time.Time{}
	}
	h.failingSince = time.Time{}
	h.fails = 0
	for _, c := range []class{soft, busy, absent} {
		if h.pace[c] != nil {
			h.pace[c].Reset()
		}
	}
	return again
}

// onTrial says that the mirror has to prove itself again: one connection, one
// piece.
func (h *health) onTrial() bool { return !h.failingSince.IsZero() }

// lost says that a one-shot download does not wait for the mirror.
func (h *health) lost(attempts int) bool {
	return h.onTrial() && (h.class >= absent || h.fails >= attempts)
}

// tiered is a mirror as the choice of the tier sees it.
type tiered struct {
	tier   int
	health *health
	lost   bool
}

// currentTier is the best tier that has not failed: one is passed over only when
// each of its mirrors has been failing for the patience. When every tier has
// failed it is the worst. next is when the answer may change by itself, or zero.
func currentTier(now time.Time, mirrors []tiered, patience time.Duration) (tier int, next time.Time) {
	first := true
	for _, m := range mirrors {
		if first || m.tier < tier {
			tier, first = m.tier, false
		}
	}
	for {
		passable := time.Time{} // when all of the tier have failed long enough
		worse, found := 0, false
		for _, m := range mirrors {
			switch {
			case m.tier > tier && (!found || m.tier < worse):
				worse, found = m.tier, true
			case m.tier != tier || m.lost:
			case !m.health.onTrial():
				return tier, time.Time{}
			default:
				if t := m.health.failingSince.Add(patience); t.After(passable) {
					passable = t
				}
			}
		}
		if !found {
			return tier, time.Time{}
		}
		if now.Before(passable) {
			return tier, passable
		}
		tier = worse
	}
}

// seat is a mirror that may be given connections.
type seat struct {
	usable bool
	trial  bool
	lanes  int     // connections it has
	limit  int     // connections it may have
	rate   float64 // of all of them, bytes/s; zero when unknown
}

// nextSeat says which mirror is to get one more connection, when all together
// should have target, or -1. Mirrors on trial get one, whatever the target.
// The others get the same number until their rates are known, and then the one
// whose connections carry the most gets more.
func nextSeat(seats []seat, target int) int {
	best, have := -1, 0
	known := true
	for i, s := range seats {
		if s.trial {
			if s.usable && s.lanes == 0 && s.limit > 0 {
				return i
			}
			continue
		}
		have += s.lanes
		if s.usable && (s.rate == 0 || s.lanes < 2) {
			known = false
		}
	}
	if have >= target {
		return -1
	}
	for i, s := range seats {
		if s.trial || !s.usable || s.lanes >= s.limit {
			continue
		}
		switch {
		case best < 0,
			!known && s.lanes < seats[best].lanes,
			known && perLane(s) > perLane(seats[best]):
			best = i
		}
	}
	return best
}

func perLane(s seat) float64 { return s.rate / float64(max(s.lanes, 1)) }
