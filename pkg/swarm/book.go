package swarm

import (
	"net/netip"
	"slices"
	"time"
)

// Bounds of a book of addresses.
const (
	maxAddrs     = 2000
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 2 * time.Minute
	// fullBackoff is the delay when it was this node that had no room.
	fullBackoff = 5 * time.Second
	// usefulBackoff is the longest delay for an address that was of use within
	// usefulTime: a cable that is plugged in again, a peer that is restarted.
	usefulBackoff = time.Second
	usefulTime    = 2 * time.Minute
	// maxFailures in a row, after some ten minutes, make an address be left alone
	// until somebody names it again.
	maxFailures = 12
	// blameBackoff is how long a peer that sent bad bytes is left alone at
	// first; each further time doubles it, up to maxBlame.
	blameBackoff = 30 * time.Second
	maxBlame     = 30 * time.Minute
)

// addr is a peer that is known but not connected, or is: see busy.
type addr struct {
	ap       netip.AddrPort
	source   string
	failures int
	next     time.Time // not to be dialled before
	busy     bool      // connected or being dialled
	self     bool
	seed     bool      // had everything when last seen
	partner  bool      // is a directing seed
	useful   time.Time // when a connection that had carried content ended
	mse      bool      // wants encryption from the start
	foreign  time.Time // until then it is of another zone; zero: it is not
}

// book holds the addresses of one torrent. It belongs to the torrent's loop.
type book struct {
	// allow says whether an address that a source names may be used.
	allow func(source string, ap netip.AddrPort) bool
	byAP  map[netip.AddrPort]*addr
	order []*addr // oldest first, so that dialling goes round fairly
}

func newBook(allow func(source string, ap netip.AddrPort) bool) *book {
	return &book{allow: allow, byAP: make(map[netip.AddrPort]*addr)}
}

// add notes an address. It returns nil for one that cannot or may not be used.
func (b *book) add(source string, ap netip.AddrPort) *addr {
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	if a := b.byAP[ap]; a != nil {
		if !a.foreign.IsZero() && time.Now().After(a.foreign) {
			a.foreign = time.Time{}
		}
		a.failures = min(a.failures, maxFailures-1) // somebody believes in it
		return a
	}
	ip := ap.Addr()
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ap.Port() == 0 || !b.allow(source, ap) {
		return nil
	}
	if len(b.order) >= maxAddrs && !b.evict() {
		return nil
	}
	a := &addr{ap: ap, source: source}
	b.byAP[ap] = a
	b.order = append(b.order, a)
	return a
}

// evict makes room by forgetting the address that failed most.
func (b *book) evict() bool {
	worst := -1
	for i, a := range b.order {
		if !a.busy && !a.self && a.failures > 0 && (worst < 0 || a.failures > b.order[worst].failures) {
			worst = i
		}
	}
	if worst < 0 {
		return false
	}
	delete(b.byAP, b.order[worst].ap)
	b.order = append(b.order[:worst], b.order[worst+1:]...)
	return true
}

// need says which peers a node has a use for.
type need struct {
	complete bool // it has everything: seeds are of no use
	partners bool // but directing seeds are, to split the pieces with
}

// due returns an address to dial now, nil when there is none: of those whose
// time has come one that failed least, so that new ones do not wait behind
// hundreds of dead ones.
func (b *book) due(now time.Time, n need) *addr {
	best := -1
	for i, a := range b.order {
		if a.candidate(n) && !a.next.After(now) && (best < 0 || a.failures < b.order[best].failures) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	a := b.order[best]
	b.order = append(append(b.order[:best], b.order[best+1:]...), a)
	return a
}

// candidate reports whether the address is one to dial, now or later.
func (a *addr) candidate(n need) bool {
	return !a.busy && !a.self && a.foreign.IsZero() && a.failures < maxFailures && (!n.complete || !a.seed || n.partners && a.partner)
}

// hopeful reports whether there are addresses to dial, now or later.
func (b *book) hopeful(n need) bool {
	return slices.ContainsFunc(b.order, func(a *addr) bool { return a.candidate(n) })
}

// failed delays the next attempt.
func (a *addr) failed(now time.Time) {
	d := firstBackoff << min(a.failures, 10)
	if now.Sub(a.useful) < usefulTime {
		d = min(d, usefulBackoff)
	}
	a.failures++
	a.next = now.Add(min(d, maxBackoff))
}

// blamed delays the next attempt for longer.
func (a *addr) blamed(now time.Time) {
	d := blameBackoff << min(a.failures, 10)
	a.failures++
	a.next = now.Add(min(d, maxBlame))
}
