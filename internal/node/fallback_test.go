package node

import (
	"testing"
	"time"

	"distd/pkg/swarm"
)

// TestSeedWatch: a leaf fetches when no seed was there for long enough, in its
// turn, and leaves it to others when enough of them do.
func TestSeedWatch(t *testing.T) {
	var hash, id [20]byte
	id[0] = 1
	now := time.Unix(1000, 0)
	w := newSeedWatch(hash, id, time.Minute)
	seed := []swarm.PeerStats{{Directed: true, Kin: true}}
	expect := func(at time.Duration, peers []swarm.PeerStats, fetching, want bool) {
		t.Helper()
		if got := w.update(peers, now.Add(at), fetching); got != want {
			t.Errorf("after %v with %d peers: %v, want %v", at, len(peers), got, want)
		}
	}
	expect(0, nil, false, false)
	expect(50*time.Second, seed, false, false)
	expect(100*time.Second, nil, false, false) // 50 s only since the seed was there
	expect(111*time.Second, nil, false, true)
	expect(112*time.Second, seed, true, false)

	// Many leaves: each has its turn, and no more than maxFallback begin.
	const leaves = 40
	ids := make([][20]byte, leaves)
	watches := make([]*seedWatch, leaves)
	for i := range ids {
		ids[i][5] = byte(i + 1)
		watches[i] = newSeedWatch(hash, ids[i], time.Minute)
	}
	running := map[int]bool{}
	step := func(at time.Time) {
		for i, w := range watches {
			var peers []swarm.PeerStats
			for k := range ids {
				if k != i {
					peers = append(peers, swarm.PeerStats{ID: ids[k], Kin: true, Fetches: running[k]})
				}
			}
			running[i] = w.update(peers, at, running[i])
		}
	}
	count := func() (n int) {
		for _, r := range running {
			if r {
				n++
			}
		}
		return n
	}
	for d := time.Duration(0); d < 3*time.Minute; d += fallbackTick {
		step(now.Add(d))
		if n := count(); n > maxFallback {
			t.Fatalf("%d leaves fetch after %v", n, d)
		}
	}
	if n := count(); n != maxFallback {
		t.Errorf("%d leaves fetch, want %d", n, maxFallback)
	}
	// One of them dies: another comes in its place.
	for i := range ids {
		if running[i] {
			watches[i].after = time.Hour
			running[i] = false
			break
		}
	}
	for d := 3 * time.Minute; d < 4*time.Minute; d += fallbackTick {
		step(now.Add(d))
	}
	if n := count(); n != maxFallback {
		t.Errorf("%d leaves fetch after one has died, want %d", n, maxFallback)
	}
}
