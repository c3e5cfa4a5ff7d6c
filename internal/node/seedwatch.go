package node

import (
	"bytes"
	"crypto/sha1"
	"sync/atomic"
	"time"

	"distd/pkg/swarm"
)

// seedWatch decides whether a leaf fetches from mirrors.
type seedWatch struct {
	key   []byte // of this leaf, for the order among them
	of    func(id [20]byte) []byte
	after time.Duration
	since time.Time // when a seed was last seen
}

func newSeedWatch(infoHash, id [20]byte, after time.Duration, since time.Time) *seedWatch {
	of := func(id [20]byte) []byte {
		h := sha1.Sum(append(infoHash[:], id[:]...))
		return h[:]
	}
	return &seedWatch{key: of(id), of: of, after: after, since: since}
}

// update takes what peers there are now and says whether to fetch. fetching says
// whether this leaf does at present.
func (w *seedWatch) update(peers []swarm.PeerStats, now time.Time, fetching bool) bool {
	before, others, betters := 0, 0, 0
	for _, p := range peers {
		if p.Directed {
			w.since = now
		}
		better := p.Kin && bytes.Compare(w.of(p.ID), w.key) < 0
		if better {
			before++
		}
		if p.Fetches {
			others++
			if better {
				betters++
			}
		}
	}
	if now.Sub(w.since) < w.after || w.since.Equal(now) {
		return false
	}
	if fetching {
		return betters < maxFallback
	}
	return others < maxFallback && now.Sub(w.since) >= w.after+time.Duration(before)*fallbackStep
}

// soon reports whether it is nearly time to fetch.
func (w *seedWatch) soon(now time.Time) bool { return now.Sub(w.since) >= w.after-meetBefore(w.after) }

func meetBefore(after time.Duration) time.Duration { return min(fallbackMeet, after/2) }

// seedless is since when no seed can be followed; zero while one can, or where
// nobody looks.
type seedless struct{ since atomic.Pointer[time.Time] }

// note takes whether a seed can be followed now, and returns for how long none
// could.
func (s *seedless) note(followed bool, now time.Time) time.Duration {
	since := s.since.Load()
	if followed {
		s.since.Store(nil)
		return 0
	}
	if since == nil {
		since = &now
		s.since.Store(since)
	}
	return now.Sub(*since)
}

// before is since when a release that begins now has been without a seed: the
// next ones need not wait as long as the first, only for the leaves to meet.
func (s *seedless) before(now time.Time, after time.Duration) time.Time {
	since := s.since.Load()
	if since == nil {
		return now
	}
	if soonest := now.Add(meetBefore(after) - after); since.Before(soonest) {
		return soonest
	}
	return *since
}
