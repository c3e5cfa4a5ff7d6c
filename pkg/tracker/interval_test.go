package tracker

import (
	"testing"
	"time"
)

func TestIntervalGrowsWithQuiet(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		quiet, n      int
		seed          bool
		stretch       float64
		least, atMost int
	}{
		{"just changed", 0, 1, false, 1, 2, 3},
		{"a minute", 60, 10, false, 1, 60, 76},
		{"settled", 10_000, 10, false, 1, 300, 376},
		{"large and changing", 0, 300, false, 1, 14, 19},
		{"seed", 0, 1, true, 1, 300, 376},
		{"under load", 10_000, 1, false, 3, 900, 1126},
		{"drowning", 10_000, 1, false, 1000, 3600, 3600},
	} {
		for range 1000 {
			interval, least := c.interval(tt.quiet, tt.n, tt.seed, tt.stretch)
			if interval < tt.least || interval > tt.atMost || least < 2 || least > interval {
				t.Fatalf("%s: interval %d, min interval %d", tt.name, interval, least)
			}
		}
	}
}

// A peer that obeys the min interval alone, as aria2 does, must not come often
// when the swarm is quiet.
func TestYoungSwarmSettles(t *testing.T) {
	s, clk := newTestServer(t, Config{})
	s.Allow(testHash(1), "x")
	n := 0
	for start := clk.now(); clk.now().Sub(start) < time.Hour; n++ {
		r := ask{hash: 1, id: 1, left: 5}.do(t, s)
		if n == 0 && r.Interval > 5*time.Second {
			t.Errorf("first interval is %v", r.Interval)
		}
		clk.add(r.MinInterval)
	}
	if n < 20 || n > 60 {
		t.Errorf("%d announces in an hour", n)
	}
	ask{hash: 1, id: 2, left: 5}.do(t, s)
	if r := (ask{hash: 1, id: 1, left: 5}).do(t, s); r.Interval > 5*time.Second {
		t.Errorf("interval after a peer joined is %v", r.Interval)
	}
}

func TestConstantInterval(t *testing.T) {
	s, clk := newTestServer(t, Config{Open: true, Interval: 5 * time.Second, MinInterval: 5 * time.Second})
	for range 100 {
		if r := (ask{hash: 1, id: 1, left: 5}).do(t, s); r.Interval != 5*time.Second || r.MinInterval != 5*time.Second {
			t.Fatalf("interval %v, %v", r.Interval, r.MinInterval)
		}
		clk.add(5 * time.Second)
	}
}

func TestLoadStretchesIntervals(t *testing.T) {
	s, clk := newTestServer(t, Config{Open: true, TargetRate: 10})
	for range 30 {
		for i := range 100 {
			ask{hash: i, id: 1, left: 5}.do(t, s)
		}
		clk.add(time.Second)
	}
	st := s.Stats()
	if st.AnnounceRate < 90 || st.AnnounceRate > 110 || st.Stretch < 9 {
		t.Errorf("%+v", st)
	}
	if r := (ask{hash: 1000, id: 1, left: 0}).do(t, s); r.Interval < 45*time.Minute {
		t.Errorf("interval %v", r.Interval)
	}
	// Who was asked to stay away for long is not forgotten meanwhile.
	clk.add(time.Hour)
	s.sweep()
	if st, ok := s.Torrent(testHash(1000)); !ok || st.Seeds != 1 {
		t.Errorf("peer was forgotten: %+v", st)
	}
	if st := s.Stats(); st.Stretch != 1 {
		t.Errorf("still busy after an hour: %+v", st)
	}
}
