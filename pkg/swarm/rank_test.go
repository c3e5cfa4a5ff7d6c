package swarm

import (
	"testing"
	"testing/synctest"
	"time"
)

func ranked(priority uint64) func(*Spec) { return func(s *Spec) { s.Priority = priority } }

// twoReleases starts a seed and a leaf with a full link of 1 MiB/s, on which an
// older release of 16 MiB is under way for two seconds when a newer one of 4 MiB
// begins.
func twoReleases(t *testing.T, old, young uint64) (older, newer *node, before int64) {
	net, a, b := newMemNet(t), newContent(t, 16<<20, 64<<10), newContent(t, 4<<20, 64<<10)
	seed := startNode(t, a, nodeOptions{net: net, seed: true, spec: ranked(old)})
	seed.also(b, true, ranked(young))
	older = startNode(t, a, nodeOptions{net: net, spec: ranked(old)})
	net.slow(older.addr, 1<<20)
	older.knows(seed)
	time.Sleep(2 * time.Second)
	newer = older.also(b, false, ranked(young))
	newer.knows(seed)
	return older, newer, older.tor.Left()
}

// TestNewerReleaseGetsTheLink: a newer release that begins later is there first,
// with most of the link for itself, while the older one goes on and gets all of
// it afterwards. Time is virtual.
func TestNewerReleaseGetsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older, newer, before := twoReleases(t, 1, 2)
		began := time.Now()
		newer.wait(time.Minute)
		took, meanwhile := time.Since(began), before-older.tor.Left()
		t.Logf("newer: 4 MiB in %v; older: %d KiB meanwhile", took, meanwhile>>10)
		if took > 5*time.Second {
			t.Errorf("the newer release took %v, of which its bytes take 4 s", took)
		}
		if meanwhile < 256<<10 {
			t.Errorf("the older release got %d bytes meanwhile: it starves", meanwhile)
		}
		began = time.Now()
		older.wait(time.Minute)
		if took, least := time.Since(began), time.Duration(before-meanwhile)*time.Second>>20; took > least*5/4 {
			t.Errorf("the older release then took %v, its bytes alone %v", took, least)
		}
	})
}

// TestEqualReleasesShareTheLink: only a newer one goes first.
func TestEqualReleasesShareTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older, newer, before := twoReleases(t, 1, 1)
		newer.wait(time.Minute)
		if meanwhile := before - older.tor.Left(); meanwhile < 1<<20 {
			t.Errorf("beside 4 MiB of an equal release the other got %d bytes", meanwhile)
		}
	})
}

// TestRanks: a newer release counts while it downloads and for a moment after it
// had something under way.
func TestRanks(t *testing.T) {
	older, newer := &Torrent{spec: Spec{Priority: 1}}, &Torrent{spec: Spec{Priority: 2}}
	r, now := newRanks(), time.Now()
	r.fetches(older, now)
	if r.newer(newer, now) || r.newer(older, now) {
		t.Error("the only one to download gives way")
	}
	r.fetches(newer, now)
	if !r.newer(older, now.Add(pause)) || r.newer(newer, now) {
		t.Error("the older one does not give way, or the newer one does")
	}
	if r.newer(older, now.Add(pause+1)) {
		t.Error("the older one gives way to one that has nothing to do")
	}
	r.fetches(newer, now)
	if r.done(newer); r.newer(older, now) {
		t.Error("the older one gives way to one that is done")
	}
}
