package sim

import (
	"slices"
	"testing"
	"time"

	"distd/pkg/swarm/picker"
)

// farm is a swarm of equal leaves at 50 Mbit/s.
func farm(leaves, pieces int, pieceKiB int64, change ...func(*Config)) Config {
	c := shape{leaves: leaves, pieces: pieces, pieceKiB: pieceKiB, rate: 50 * mbit}.config()
	for _, f := range change {
		f(&c)
	}
	return c
}

// mustRun runs a swarm in which everybody has to be done.
func mustRun(t *testing.T, c Config) *Result {
	t.Helper()
	r := Run(c)
	t.Logf("last leaf %.3f, median %.3f times the least time, seeds sent %.3f copies, wasted %.4f, %d events", r.Last, r.Median, r.Copies, r.Wasted, r.Events)
	if r.Unfinished > 0 {
		t.Fatalf("%d leaves were not done after %v", r.Unfinished, r.Virtual)
	}
	return r
}

// Headers alone are 1.05 of a ratio; copies are counted without them.
func TestSwarmFinishesNearTheBound(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		bound  float64 // of the last leaf
		copies float64 // that the seeds may send
	}{
		{"16 leaves, 64 KiB", farm(16, 1024, 64), 1.10, 1.06},
		{"16 leaves, 256 KiB", farm(16, 256, 256), 1.20, 1.15},
		{"1 leaf", farm(1, 256, 64), 1.06, 1.001},
		{"2 leaves", farm(2, 256, 64), 1.08, 1.02},
		{"40 leaves", farm(40, 512, 64), 1.25, 1.20},
		{"seed still fetching", farm(8, 512, 64, func(c *Config) { c.Fetching = 8 }), 1.20, 1.15},
		{"1 leaf at 10 Gbit/s", shape{leaves: 1, pieces: 1024, pieceKiB: 256, rate: 10 * gbit}.config(), 1.10, 1.001},
		{"two seeds", farm(16, 512, 64, func(c *Config) { c.Seeds = append(c.Seeds, c.Seeds[0]) }), 1.12, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && len(c.cfg.Leaves) > 16 {
				t.Skip("takes a while with the race detector")
			}
			r := mustRun(t, c.cfg)
			if r.Last > c.bound || r.Sent() > c.copies {
				t.Errorf("last leaf at %.3f times the least time (bound %.2f), %.3f copies (bound %.3f)", r.Last, c.bound, r.Sent(), c.copies)
			}
		})
	}
}

func TestSlowLeavesHoldUpNobody(t *testing.T) {
	r := mustRun(t, farm(16, 1024, 64, func(c *Config) {
		for i := 14; i < 16; i++ {
			c.Leaves[i].Up, c.Leaves[i].Down = c.Leaves[i].Up/4, c.Leaves[i].Down/4
		}
	}))
	if r.Last > 1.15 {
		t.Errorf("some leaf took %.3f times its least time", r.Last)
	}
}

// On slow links with many peers a block takes seconds, which must not be taken for
// a peer that hangs: what others are asked for then comes twice.
func TestSlowLinksCarryNothingTwice(t *testing.T) {
	r := mustRun(t, shape{leaves: 16, pieces: 256, pieceKiB: 64, rate: 2 * mbit}.config())
	if r.Last > 1.2 || r.Wasted > 16*0.02 {
		t.Errorf("last leaf at %.3f times the least time, %.3f copies came in vain", r.Last, r.Wasted)
	}
}

func TestLateLeavesTakeTheirOwnTime(t *testing.T) {
	r := mustRun(t, farm(16, 1024, 64, func(c *Config) {
		for i := 12; i < 16; i++ {
			c.Leaves[i].Start = c.Least()[0] / 2
		}
	}))
	if r.Last > 1.15 {
		t.Errorf("some leaf took %.3f times its least time", r.Last)
	}
}

// Three of sixteen go down half-way; one of them comes back.
func TestLeavesThatDieAndReturn(t *testing.T) {
	r := mustRun(t, farm(16, 512, 64, func(c *Config) {
		for i := range 3 {
			c.Leaves[i].Die = c.Least()[0] / 2
		}
		c.Leaves[0].Away = time.Second
	}))
	if r.Took[0] == 0 || r.Took[1] > 0 || r.Took[2] > 0 {
		t.Errorf("times of those that died: %v; only the first came back", r.Took[:3])
	}
	if r.Last > 1.2 {
		t.Errorf("some leaf took %.3f times its least time", r.Last)
	}
}

// One of two seeds dies. Nobody says so to the other, which has to bring the
// dead one's pieces.
func TestOneOfTwoSeedsDies(t *testing.T) {
	r := mustRun(t, farm(16, 512, 64, func(c *Config) {
		c.Seeds = append(c.Seeds, c.Seeds[0])
		c.LastSeedDies = 0.3
	}))
	if r.Copies[1] > 0.2 {
		t.Fatalf("the seed that should have died sent %.3f copies", r.Copies[1])
	}
	if r.Last > 1.15 {
		t.Errorf("the last leaf took %.3f times the least time", r.Last)
	}
}

// Two seeds begin with different pieces: together they have sent little more
// than one copy when every piece is among the leaves.
func TestTwoSeedsShareTheFirstCopy(t *testing.T) {
	two := func(c *Config) {
		c.Seeds = append(c.Seeds, c.Seeds[0])
		for i := range c.Seeds {
			c.Seeds[i].Up /= 2
		}
	}
	r := mustRun(t, farm(16, 512, 64, two))
	if r.Sent() > 1.2 || r.Last > 1.25 {
		t.Errorf("two seeds with half the rate sent %.3f copies, last leaf %.3f", r.Sent(), r.Last)
	}
	for i, c := range r.Copies {
		if c < 0.4 {
			t.Errorf("seed %d sent %.3f copies, want about half", i, c)
		}
	}
	without := mustRun(t, farm(16, 512, 64, two, func(c *Config) { c.Without = picker.Splitting }))
	if without.Last < r.Last+0.1 {
		t.Errorf("last leaf at %.3f when the seeds do not split the pieces, %.3f when they do", without.Last, r.Last)
	}
}

// A rule is worth something: without it the swarm is slower or the seed sends
// more.
func TestEachRuleIsWorthSomething(t *testing.T) {
	all := mustRun(t, farm(16, 512, 64))
	for _, c := range []struct {
		name string
		rule picker.Rule
	}{
		{"directing", picker.Directing},
		{"fewest copies first", picker.FewestFirst},
		{"ask all", picker.AskAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustRun(t, farm(16, 512, 64, func(cfg *Config) { cfg.Without = c.rule }))
			if r.Last < all.Last+0.1 || r.Sent() < all.Sent()+0.1 {
				t.Errorf("last leaf %.3f, %.3f copies; with the rule %.3f and %.3f", r.Last, r.Sent(), all.Last, all.Sent())
			}
		})
	}
	if testing.Short() {
		return // the rest takes a while with the race detector
	}
	// With long queues much more is asked that another peer then brings first.
	with := mustRun(t, farm(40, 512, 64))
	without := mustRun(t, farm(40, 512, 64, func(cfg *Config) { cfg.Without = picker.ShortQueues }))
	if without.Wasted < 2*with.Wasted {
		t.Errorf("%.3f copies were wasted with long queues, %.3f with short ones", without.Wasted, with.Wasted)
	}
}

func TestRunsAreRepeatable(t *testing.T) {
	run := func(seed uint64) *Result {
		return mustRun(t, farm(20, 128, 64, func(c *Config) {
			c.Mesh, c.Dial, c.Seed = 5, 6, seed
			c.Leaves[3].Die, c.Leaves[3].Away = time.Second, time.Second
		}))
	}
	a, b, other := run(1), run(1), run(2)
	if !slices.Equal(a.Took, b.Took) {
		t.Errorf("the same swarm took %v and then %v", a.Took, b.Took)
	}
	if slices.Equal(a.Took, other.Took) {
		t.Error("another seed makes no difference")
	}
}
