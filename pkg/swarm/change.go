package swarm

import (
	"cmp"
	"errors"
	"slices"
)

// errLowered ends connections above a limit that was lowered.
var errLowered = errors.New("the limit of connections was lowered")

// connUse is a connection and of how much use it is.
type connUse struct {
	t     *Torrent
	c     *conn
	wants bool // one side wants something of the other
	bytes int64
}

// moreUse orders connections, those of most use first: where something is
// wanted, and then by what they have carried.
func moreUse(a, b connUse) int {
	if a.wants != b.wants {
		if a.wants {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.bytes, a.bytes)
}

// SetMaxConns changes Config.MaxConns and MaxConnsPerTorrent; both must be
// positive. Connections above a lowered limit are closed, those of least use
// first.
func (e *Engine) SetMaxConns(all, perTorrent int) {
	e.maxConns.Store(int64(all))
	e.maxPerTorrent.Store(int64(perTorrent))
	var keep, drop []connUse
	for _, t := range e.Torrents() {
		var of []connUse
		t.call(func() { of = t.uses() })
		slices.SortFunc(of, moreUse)
		n := min(len(of), perTorrent)
		keep, drop = append(keep, of[:n]...), append(drop, of[n:]...)
	}
	slices.SortFunc(keep, moreUse)
	drop = append(drop, keep[min(len(keep), all):]...)
	for _, u := range drop {
		u.t.post(callEvent(func(t *Torrent) {
			if u.c.pe != nil {
				t.drop(u.c, errLowered)
			}
		}))
	}
}

func (t *Torrent) uses() []connUse {
	of := make([]connUse, 0, len(t.conns))
	for _, c := range t.conns {
		of = append(of, connUse{t: t, c: c, wants: c.pe.Interested() || c.peerInterested, bytes: c.down + c.w.BlockBytes()})
	}
	return of
}

// Retune calls Config.Tune for every connection that there is, after what it
// does has changed.
func (e *Engine) Retune() {
	if e.cfg.Tune == nil {
		return
	}
	for _, t := range e.Torrents() {
		t.post(callEvent(func(t *Torrent) {
			for _, c := range t.conns {
				e.cfg.Tune(c.raw)
			}
		}))
	}
}
