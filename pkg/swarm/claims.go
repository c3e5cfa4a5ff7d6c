package swarm

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

// Who fetches from mirrors tells the others that do what it has claimed, so that
// all together fetch one copy (Spec.OneCopy). What follows from it is decided in
// picker/onecopy.go and picker/fetching.go.

const (
	// meetTime is how long the first claim waits for those who are expected to
	// fetch as well. They hear of a release at the same moment, and what two claim
	// before they know each other may come twice.
	meetTime = 400 * time.Millisecond
	// rumourTime is how often those who do not fetch hear that something has come.
	rumourTime = time.Second
	// maxRunsSent bounds the runs in one message.
	maxRunsSent = 1024
)

// fetchesToo reports whether the peer is known to fetch from mirrors, or need not.
func (t *Torrent) fetchesToo(c *conn) bool {
	return c.fetches || c.directing && t.hasAll(c)
}

// hasAll reports whether the peer has everything.
func (t *Torrent) hasAll(c *conn) bool { return c.pe.Count() == t.spec.Layout.NumPieces() }

// begin is called with each claim. It is false while others are waited for.
func (t *Torrent) begin() bool {
	if !t.spec.OneCopy {
		return true
	}
	if !t.fetching {
		t.fetching = true
		for _, c := range t.conns {
			t.introduce(c)
		}
	}
	met := int64(0)
	for _, c := range t.conns {
		if t.fetchesToo(c) {
			met++
		}
	}
	waited := time.Since(t.began)
	if expected := min(int64(t.spec.Fetchers), t.e.fetchers.Load()); !t.claiming && met < expected {
		if waited < meetTime {
			if t.meeting == nil {
				t.meeting = time.AfterFunc(meetTime-waited, t.signalChanged)
			}
			return false
		}
		t.e.fetchers.Store(met) // the next release does not wait for who is away
	}
	if met > t.e.fetchers.Load() {
		t.e.fetchers.Store(met)
	}
	if !t.claiming {
		t.claiming = true
		t.log.Debug("fetching from mirrors", zap.Int64("others", met), zap.Duration("after", waited.Round(time.Millisecond)))
	}
	return true
}

// claimsCame takes in what a peer tells of its claims.
func (t *Torrent) claimsCame(c *conn, data []byte) error {
	if !t.spec.OneCopy || c.claimsID == 0 {
		return errors.New("claims of a peer that does not know of claims")
	}
	m, err := wire.DecodeClaims(data, t.spec.Layout.NumPieces())
	if err != nil {
		return err
	}
	if c.claimed += m.Pieces(); c.claimed > t.claimable(time.Since(c.since)) {
		return errors.New("claims change too often")
	}
	first := !c.fetches
	if first {
		c.fetches = true
		t.pick.Fetches(c.pe, seedID(c.s.PeerID), t.now())
		t.introduce(c)
	}
	now := t.now()
	for _, r := range m.Released {
		t.pick.TheyUnclaim(c.pe, int(r.First), int(r.N))
	}
	for _, r := range m.Claimed {
		t.pick.TheyClaim(c.pe, int(r.First), int(r.N), false, now)
	}
	for _, r := range m.Taken {
		t.pick.TheyClaim(c.pe, int(r.First), int(r.N), true, now)
	}
	t.pick.TheyReceived(c.pe, m.Received, now)
	if first || len(m.Released) > 0 || t.pick.Yielding() {
		t.signalChanged()
	}
	return nil
}

// claimable is how many pieces a peer may have named in its claims in so long a
// time: many times more than one needs whose mirrors fail again and again.
func (t *Torrent) claimable(age time.Duration) int {
	return (t.spec.Layout.NumPieces() + 1000) * (100 + int(age.Seconds()))
}

// introduce tells a peer that this node fetches: one that fetches as well, or is
// about to, is told what is claimed, and from then on all that changes. Others
// learn no more than that, and from leaves only: a seed is known to fetch.
func (t *Torrent) introduce(c *conn) {
	switch {
	case !t.fetching || c.claimsID == 0 || t.hasAll(c):
	case c.fetches || c.directing:
		if !c.introduced {
			c.introduced = true
			t.tellClaims(c)
		}
	case !t.spec.Directing:
		t.sendClaims(c, &wire.Claims{Received: t.mirrored.Load()})
	}
}

func (t *Torrent) sendClaims(c *conn, m *wire.Claims) { c.w.SendExtended(c.claimsID, m.Encode()) }

// tellClaims tells a peer everything that is claimed here.
func (t *Torrent) tellClaims(c *conn) {
	m := wire.Claims{Received: t.mirrored.Load()}
	for _, r := range t.pick.ClaimedRuns() {
		if m.Claimed = append(m.Claimed, wire.Run{First: uint32(r[0]), N: uint32(r[1])}); len(m.Claimed) == maxRunsSent {
			t.sendClaims(c, &m)
			m.Claimed = nil
		}
	}
	t.sendClaims(c, &m)
}

// broadcast sends the message to all who fetch.
func (t *Torrent) broadcast(m wire.Claims) {
	t.claimsTold = t.mirrored.Load()
	m.Received = t.claimsTold
	var payload []byte
	for _, c := range t.conns {
		if !c.introduced || t.hasAll(c) {
			continue
		}
		if payload == nil {
			payload = m.Encode()
		}
		c.w.SendExtended(c.claimsID, payload)
	}
}

// tellClaim tells the others of a claim that was made, or given back.
func (t *Torrent) tellClaim(first, n int, taken bool) {
	runs := []wire.Run{{First: uint32(first), N: uint32(n)}}
	if taken {
		t.broadcast(wire.Claims{Taken: runs})
	} else {
		t.broadcast(wire.Claims{Claimed: runs})
	}
}

func (t *Torrent) tellUnclaim(first, n int) {
	if n > 0 {
		t.broadcast(wire.Claims{Released: []wire.Run{{First: uint32(first), N: uint32(n)}}})
	}
}

// tickClaims tells the others how much has come: one of whom nothing is heard
// hangs, and is helped.
func (t *Torrent) tickClaims(now time.Time) {
	if !t.fetching || t.pick.Done() {
		return
	}
	got := t.mirrored.Load()
	t.pick.Received(got, t.now())
	t.updateShare()
	if got != t.claimsTold {
		t.broadcast(wire.Claims{})
	}
	if got == t.rumoured || now.Sub(t.rumouredAt) < rumourTime {
		return
	}
	t.rumoured, t.rumouredAt = got, now
	for _, c := range t.conns {
		if !c.introduced {
			t.introduce(c)
		}
	}
}

// updateShare works out anew what is for this node to fetch.
func (t *Torrent) updateShare() {
	if t.spec.OneCopy {
		t.share.Store(t.pick.Share(t.now()))
	}
}

// Share is the number of bytes that are for this node to fetch from mirrors
// still: all that are missing or, with OneCopy, its part of them.
func (t *Torrent) Share() int64 {
	if t.spec.OneCopy {
		return t.share.Load()
	}
	return t.Left()
}

// Received notes that n more bytes have come from mirrors, in whole pieces or
// not.
func (t *Torrent) Received(n int64) { t.mirrored.Add(n) }

// Yield returns claimed pieces that another brings, or has brought, since the
// last call. Those of which nothing was asked for yet are to be unclaimed.
func (t *Torrent) Yield() (pieces []int) {
	if t.spec.OneCopy {
		t.call(func() { pieces = t.pick.Yielded() })
	}
	return pieces
}
