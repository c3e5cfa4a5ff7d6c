package swarm

import "time"

// Directing seeds of one swarm stay connected while there are leaves: each must
// know which others there are, to begin with pieces of its own (picker/share.go).
// They find each other by a tracker, or by the leaves, which tell them (PEX).

// need says which peers this node has a use for now.
func (t *Torrent) need() need {
	return need{complete: t.pick.Done(), partners: t.spec.Directing && t.hasLeaves()}
}

// hasLeaves reports whether some peer is none of the directing seeds.
func (t *Torrent) hasLeaves() bool {
	for _, c := range t.conns {
		if c.pe != nil && !c.directing {
			return true
		}
	}
	return false
}

// dropPartner ends the connection between two directing seeds that both have
// everything and have had no leaf for a while, so that releases which nobody
// fetches cost nothing. One that got the last piece from the other knows of both
// first: it need not tell the other what that has.
func (t *Torrent) dropPartner(c *conn, now time.Time) {
	if c.pe == nil || !c.directing || !t.spec.Directing || !t.pick.Done() || !t.hasAll(c) || t.hasLeaves() {
		c.alone = time.Time{}
		return
	}
	if c.alone.IsZero() {
		c.alone = now
	}
	if now.Sub(c.alone) > t.e.cfg.partnerTime {
		t.drop(c, errBothSeeds)
	}
}
