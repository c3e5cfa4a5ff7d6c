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
	w := newSeedWatch(hash, id, time.Minute, now)
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
		watches[i] = newSeedWatch(hash, ids[i], time.Minute, now)
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

// TestSeedless: only the first release without a seed waits as long as it is set.
func TestSeedless(t *testing.T) {
	var s seedless
	at := func(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }
	expect := func(now, after, since time.Duration) {
		t.Helper()
		if got := s.before(at(now), after); !got.Equal(at(since)) {
			t.Errorf("at %v: none since %v, want %v", now, got.Sub(at(0)), since)
		}
	}
	expect(0, 2*time.Minute, 0) // nobody looks
	if d := s.note(false, at(time.Second)); d != 0 {
		t.Errorf("without a seed for %v at once", d)
	}
	if d := s.note(false, at(time.Minute)); d != 59*time.Second {
		t.Errorf("without a seed for %v, want 59s", d)
	}
	expect(time.Minute, 2*time.Minute, time.Second)
	expect(time.Hour, 2*time.Minute, time.Hour-2*time.Minute+fallbackMeet)
	expect(time.Hour, 2*time.Second, time.Hour-time.Second)
	if d := s.note(true, at(2*time.Hour)); d != 0 {
		t.Errorf("without a seed for %v beside one", d)
	}
	expect(3*time.Hour, 2*time.Minute, 3*time.Hour)

	var hash, id [20]byte
	w := newSeedWatch(hash, id, time.Minute, at(0))
	for d, want := range map[time.Duration]bool{0: false, 54 * time.Second: false, 56 * time.Second: true} {
		if got := w.soon(at(d)); got != want {
			t.Errorf("after %v: soon is %v", d, got)
		}
	}
}
