package httpfetch

import (
	"errors"
	"testing"
	"time"
)

func TestCurrentTier(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	failing := func(d time.Duration) *health { return &health{failingSince: now.Add(-d)} }
	works := &health{}
	for _, c := range []struct {
		name    string
		mirrors []tiered
		tier    int
		next    time.Duration // zero: never
	}{
		{"all work", []tiered{{1, works, false}, {0, works, false}}, 0, 0},
		{"one of the best works", []tiered{{0, failing(time.Hour), false}, {0, works, false}, {5, works, false}}, 0, 0},
		{"failing, but not for long", []tiered{{0, failing(time.Second), false}, {0, failing(time.Hour), false}, {5, works, false}}, 0, 29 * time.Second},
		{"failing for long", []tiered{{0, failing(time.Minute), false}, {5, works, false}, {9, works, false}}, 5, 0},
		{"two tiers fail", []tiered{{0, failing(time.Minute), false}, {5, failing(10 * time.Second), false}, {9, works, false}}, 5, 20 * time.Second},
		{"all fail", []tiered{{0, failing(time.Minute), false}, {5, failing(time.Minute), false}}, 5, 0},
		{"lost is not waited for", []tiered{{0, failing(time.Second), true}, {5, works, false}}, 5, 0},
		{"a single mirror", []tiered{{7, failing(time.Second), false}}, 7, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tier, next := currentTier(now, c.mirrors, 30*time.Second)
			want := time.Time{}
			if c.next > 0 {
				want = now.Add(c.next)
			}
			if tier != c.tier || !next.Equal(want) {
				t.Errorf("tier %d, next %v, want %d, %v", tier, next, c.tier, want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var h health
	err := errors.New("x")
	h.failed(now, &fault{class: soft, err: err})
	first := h.until
	if !h.onTrial() || first.Sub(now) > time.Second {
		t.Errorf("after a failed connection: trial %v, left alone for %v", h.onTrial(), first.Sub(now))
	}
	h.failed(now, &fault{class: soft, err: err})
	if h.fails != 1 || h.until != first {
		t.Error("two connections that fail at once count twice")
	}
	h.failed(now, &fault{class: busy, err: err, wait: 10 * time.Minute})
	if d := h.until.Sub(now); d < 10*time.Minute {
		t.Errorf("left alone for %v, asked for 10 minutes", d)
	}
	h.verified(now)
	if h.onTrial() || h.until.After(now) {
		t.Error("a mirror that works is left alone")
	}
	h.failed(now, &fault{class: poison, err: err})
	once := h.until.Sub(now)
	if once < 2*time.Minute {
		t.Errorf("bad bytes: left alone for %v only", once)
	}
	if h.verified(now.Add(time.Second)) || !h.until.After(now) || !h.lost(5) {
		t.Error("a good piece that was under way makes up for a bad one")
	}
	if !h.verified(h.until) || h.onTrial() {
		t.Error("a good piece of a mirror that is tried again does not count")
	}
	later := now.Add(time.Hour)
	for range 20 {
		h.failed(later, &fault{class: poison, err: err})
		later = h.until.Add(time.Second)
		h.verified(later)
	}
	h.failed(later, &fault{class: poison, err: err})
	if d := h.until.Sub(later); d < 30*time.Minute || d > 90*time.Minute {
		t.Errorf("a repeated liar is left alone for %v", d)
	}
}

func TestLost(t *testing.T) {
	now := time.Now()
	for c, want := range map[class]int{soft: 5, busy: 5, absent: 1, liar: 1, poison: 1} {
		var h health
		n := 0
		for at := now; !h.lost(5); at = h.until.Add(time.Millisecond) {
			h.failed(at, &fault{class: c, err: errors.New("x")})
			n++
		}
		if n != want {
			t.Errorf("%v: lost after %d failures, want %d", c, n, want)
		}
	}
}

func TestNextSeat(t *testing.T) {
	ok := seat{usable: true, limit: 10}
	with := func(lanes int, rate float64) seat { s := ok; s.lanes, s.rate = lanes, rate; return s }
	trial := seat{usable: true, trial: true, limit: 10}
	full := with(3, 1)
	full.limit = 3
	for _, c := range []struct {
		name   string
		seats  []seat
		target int
		want   int
	}{
		{"none usable", []seat{{}, {}}, 4, -1},
		{"first of equals", []seat{ok, ok}, 4, 0},
		{"turn about", []seat{with(1, 0), ok}, 4, 1},
		{"enough", []seat{with(2, 0), with(2, 0)}, 4, -1},
		{"the faster for each connection", []seat{with(4, 100), with(2, 90)}, 8, 1},
		{"the slower one is given two at least", []seat{with(5, 500), with(1, 1)}, 8, 1},
		{"full", []seat{full, with(2, 0.1)}, 8, 1},
		{"trial beyond the target", []seat{with(4, 1), trial}, 4, 1},
		{"one for a trial", []seat{{usable: true, trial: true, limit: 10, lanes: 1}}, 4, -1},
	} {
		if got := nextSeat(c.seats, c.target); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
