package httpfetch

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// path is a model of a way to a mirror: what each connection carries once it is
// at speed, what all together can carry, and how long one takes to get there.
type path struct {
	rtt      time.Duration
	each     float64 // bytes/s
	line     float64 // bytes/s
	handshak int     // round trips before the first byte
}

// simulate runs growth over a path and returns the number of connections and
// the rate, each 50 ms.
func simulate(p path, start, limit int, d time.Duration) (conns []int, rates []float64) {
	g := newGrowth(start)
	now := time.Time{}.Add(time.Hour)
	var born []time.Time
	var bytes float64
	const tick = 50 * time.Millisecond
	for end := now.Add(d); now.Before(end); now = now.Add(tick) {
		open, rate := 0, 0.0
		for _, b := range born {
			age := now.Sub(b)
			if age >= p.rtt*time.Duration(p.handshak-1) {
				open++
			}
			if rounds := age.Seconds()/max(p.rtt.Seconds(), 1e-4) - float64(p.handshak); rounds >= 0 {
				// Slow start: ten segments in the first round, twice as many in each next.
				rate += min(p.each, 14600*math.Pow(2, min(rounds, 40))/max(p.rtt.Seconds(), 1e-4))
			}
		}
		rate = min(rate, p.line)
		bytes += rate * tick.Seconds()
		target := g.update(load{now: now, bytes: int64(bytes), conns: open, rtt: p.rtt, limit: limit})
		for len(born) < target {
			born = append(born, now)
		}
		born = born[:target]
		conns = append(conns, target)
		rates = append(rates, rate)
	}
	return conns, rates
}

func TestGrowthOnPaths(t *testing.T) {
	const mbit = 1e6 / 8
	for _, c := range []struct {
		name     string
		p        path
		fast     time.Duration // when 90 % of the line is to be reached
		min, max int           // connections at the end of a minute
	}{
		{"long and lossy: 6 of 200 Mbit/s each", path{80 * time.Millisecond, 6 * mbit, 200 * mbit, 3}, 1500 * time.Millisecond, 30, 48},
		{"long, one is enough", path{80 * time.Millisecond, 200 * mbit, 200 * mbit, 3}, time.Second, 4, 20},
		{"local, one is enough", path{200 * time.Microsecond, 1000 * mbit, 1000 * mbit, 3}, 200 * time.Millisecond, 4, 5},
		{"local, each limited by the server", path{200 * time.Microsecond, 50 * mbit, 1000 * mbit, 3}, 20 * time.Second, 18, 48},
	} {
		t.Run(c.name, func(t *testing.T) {
			conns, rates := simulate(c.p, 4, 48, time.Minute)
			if n := conns[len(conns)-1]; n < c.min || n > c.max {
				t.Errorf("%d connections after a minute, want %d to %d", n, c.min, c.max)
			}
			at := -1
			for i, r := range rates {
				if r >= 0.9*c.p.line {
					at = i
					break
				}
			}
			if got := time.Duration(at) * 50 * time.Millisecond; at < 0 || got > c.fast {
				t.Errorf("the line was full after %v, want %v; connections %v", got, c.fast, conns[:40])
			}
		})
	}
}

// TestGrowthOnNarrowPath: while slow start makes each connection faster, more of
// them are not the reason.
func TestGrowthOnNarrowPath(t *testing.T) {
	conns, _ := simulate(path{40 * time.Millisecond, 3e5, 6.25e6, 3}, 4, 96, 1500*time.Millisecond)
	if n := slices.Max(conns); n < 16 || n > 30 {
		t.Errorf("up to %d connections on a line that has 250 kB under way", n)
	}
}

// TestGrowthTakesBack adds connections that bring nothing and must end with as
// many as before, trying ever less often.
func TestGrowthTakesBack(t *testing.T) {
	conns, _ := simulate(path{200 * time.Microsecond, 1e8, 1e8, 3}, 4, 48, 10*time.Minute)
	changes := 0
	for i := 1; i < len(conns); i++ {
		if conns[i] > conns[i-1] {
			changes++
		}
	}
	if n := conns[len(conns)-1]; n > 5 || changes > 20 {
		t.Errorf("%d connections at the end, added %d times", n, changes)
	}
}

func TestGrowthKeepsTheLimit(t *testing.T) {
	conns, _ := simulate(path{80 * time.Millisecond, 1e5, 1e9, 3}, 4, 10, time.Minute)
	for i, n := range conns {
		if n > 10 {
			t.Fatalf("%d connections at step %d, 10 allowed", n, i)
		}
	}
	if n := conns[len(conns)-1]; n != 10 {
		t.Errorf("%d connections at the end, want the 10 that are allowed", n)
	}
}

// TestGrowthWithoutWork must not read meaning into a lack of work.
func TestGrowthWithoutWork(t *testing.T) {
	g := newGrowth(4)
	now := time.Time{}.Add(time.Hour)
	for i := range 1200 {
		n := g.update(load{now: now.Add(time.Duration(i) * 50 * time.Millisecond), bytes: int64(i) * 100, conns: 4, rtt: time.Millisecond, hungry: true, limit: 48})
		if n > 8 {
			t.Fatalf("%d connections with nothing to do", n)
		}
	}
}

func ExampleGiveUpError() {
	err := &GiveUpError{Failures: []MirrorFailure{{"https://a/f", fmt.Errorf("status 404")}, {"https://b/f", fmt.Errorf("connect: refused")}}}
	fmt.Println(err)
	// Output: every mirror failed; https://a/f: status 404; https://b/f: connect: refused
}
