package swarm

import (
	"sync"
	"time"
)

// ranks says which torrents are downloading from peers. A newer release is to
// get most of the link: while it downloads, older ones keep one block under way
// from each peer and no more. So they go on, faster where the link has room, and
// no connection of theirs looks dead.
type ranks struct {
	mu   sync.Mutex
	busy map[*Torrent]time.Time // when they last had blocks under way
}

// pause is how long a download may have nothing under way and still counts. The
// requests that older ones make meanwhile would be in its way for as long.
const pause = time.Second

func newRanks() *ranks { return &ranks{busy: make(map[*Torrent]time.Time)} }

// fetches records that t has blocks under way.
func (r *ranks) fetches(t *Torrent, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[t] = now
}

// done records that t has nothing to download any more.
func (r *ranks) done(t *Torrent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, t)
}

// newer reports whether a torrent of higher priority than t is downloading.
func (r *ranks) newer(t *Torrent, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for o, at := range r.busy {
		if now.Sub(at) > pause {
			delete(r.busy, o)
		} else if o.spec.Priority > t.spec.Priority {
			return true
		}
	}
	return false
}

// rank takes part in ranks, with the state that the download is in now.
func (t *Torrent) rank(now time.Time) {
	a, r := &t.counts.account, t.e.ranks
	switch {
	case a.why == "":
		r.done(t)
		return
	case a.why == HeldLimits, a.moving && a.why != HeldMirrors:
		r.fetches(t, now)
	}
	t.pick.Yield(r.newer(t, now))
}
