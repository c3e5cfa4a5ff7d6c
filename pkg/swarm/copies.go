package swarm

import "time"

// Copies is what is known of a torrent's copies beside this node's own.
type Copies struct {
	// Complete is how many peers have everything, of those that are connected and
	// those that have been: two seeds do not stay connected.
	Complete int
	// Lowest is how many peers have the piece that the fewest have, Mean how many
	// have a piece on average. The complete ones count.
	Lowest int
	Mean   float64
}

func (t *Torrent) copies() *Copies {
	if !t.spec.Directing {
		return nil
	}
	var k Copies
	gone := 0
	for _, a := range t.book.order {
		if a.seed && !a.busy && !a.self {
			gone++
		}
	}
	k.Complete = gone
	for _, c := range t.conns {
		if t.hasAll(c) || c.directing && c.addr != nil && c.addr.seed {
			k.Complete++
		}
	}
	k.Lowest, k.Mean = t.pick.Copies()
	k.Lowest += gone
	k.Mean += float64(gone)
	return &k
}

// settling is how long a new connection's pieces are not taken for gain: it
// begins by telling what it has.
const settling = time.Second

// measure measures how fast the peer gets pieces.
func (c *conn) measure(t *Torrent, now time.Time) {
	n := int64(c.pe.Count()) * t.spec.Layout.PieceLength
	if now.Sub(c.since) < settling {
		c.gain.seen = n
		return
	}
	c.gain.update(n, t.now())
}
