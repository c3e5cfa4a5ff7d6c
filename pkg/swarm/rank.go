package swarm

import "sync"

// ranks says which torrents are downloading from peers at this moment. A newer
// release is to get most of the link: while it downloads, older ones keep one
// block under way from each peer and no more. So they go on, faster where the
// link has room, and no connection of theirs looks dead.
type ranks struct {
	mu   sync.Mutex
	busy map[*Torrent]struct{}
}

func newRanks() *ranks { return &ranks{busy: make(map[*Torrent]struct{})} }

// note records whether t is downloading from peers, and reports whether a torrent
// of higher priority is.
func (r *ranks) note(t *Torrent, busy bool) (yield bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !busy {
		delete(r.busy, t)
		return false
	}
	r.busy[t] = struct{}{}
	for o := range r.busy {
		if o.spec.Priority > t.spec.Priority {
			return true
		}
	}
	return false
}
