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
	// maxRunsSent bounds the runs in one message.
	maxRunsSent = 1024
)

// claimsShared reports whether this node tells others what it claims.
func (t *Torrent) claimsShared() bool { return t.spec.OneCopy && (t.spec.Directing || t.fetching) }

// begin is called with each claim. It is false while others are waited for.
func (t *Torrent) begin() bool {
	if !t.spec.OneCopy {
		return true
	}
	if !t.fetching {
		t.fetching = true
		for _, c := range t.conns {
			if c.kin && !t.spec.Directing {
				t.greetExtended(c) // again, with the extension
				t.tellClaims(c)
			}
		}
	}
	met := 0
	for _, c := range t.conns {
		if c.toldClaims {
			met++
		}
	}
	waited := time.Since(t.began)
	switch {
	case met >= t.spec.Fetchers:
		if met > 0 {
			t.e.alone.Store(false)
		}
	case t.meeting == nil && waited < meetTime && !t.e.alone.Load():
		t.meeting = time.AfterFunc(meetTime-waited, t.signalChanged)
		return false
	case waited < meetTime && t.meeting != nil:
		return false
	case met == 0:
		// The next release does not wait for nobody.
		t.e.alone.Store(true)
	}
	if !t.claiming {
		t.claiming = true
		t.log.Debug("fetching from mirrors", zap.Int("others", met), zap.Duration("after", waited.Round(time.Millisecond)))
	}
	return true
}

// claimsCame takes in what a peer tells of its claims.
func (t *Torrent) claimsCame(c *conn, data []byte) error {
	if !t.spec.OneCopy || c.claimsID == 0 {
		return errors.New("claims of a peer that has not said that it fetches")
	}
	m, err := wire.DecodeClaims(data, t.spec.Layout.NumPieces())
	if err != nil {
		return err
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
	t.updateShare()
	if !c.toldClaims || len(m.Released) > 0 || t.pick.Yielding() {
		c.toldClaims = true
		t.signalChanged()
	}
	return nil
}

// introduce is for a peer that has just said that it fetches too: it is told
// what is here, if it is to know, and what is claimed.
func (t *Torrent) introduce(c *conn) {
	t.pick.Fetches(c.pe, seedID(c.s.PeerID), t.now())
	if t.claimsShared() {
		t.tellClaims(c)
	}
}

// tellClaims tells a peer everything that is claimed here.
func (t *Torrent) tellClaims(c *conn) {
	if c.claimsID == 0 {
		return
	}
	m := wire.Claims{Received: t.mirrored.Load()}
	for _, r := range t.pick.ClaimedRuns() {
		if m.Claimed = append(m.Claimed, wire.Run{First: uint32(r[0]), N: uint32(r[1])}); len(m.Claimed) == maxRunsSent {
			c.w.SendExtended(c.claimsID, m.Encode())
			m.Claimed = nil
		}
	}
	c.w.SendExtended(c.claimsID, m.Encode())
}

// broadcast sends the message to all who fetch.
func (t *Torrent) broadcast(m wire.Claims) {
	if !t.claimsShared() {
		return
	}
	t.claimsTold = t.mirrored.Load()
	m.Received = t.claimsTold
	var payload []byte
	for _, c := range t.conns {
		if c.claimsID == 0 || c.pe == nil {
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
func (t *Torrent) tickClaims() {
	if !t.spec.OneCopy || t.pick.Done() {
		return
	}
	got := t.mirrored.Load()
	t.pick.Received(got, t.now())
	t.updateShare()
	if got != t.claimsTold {
		t.broadcast(wire.Claims{})
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
