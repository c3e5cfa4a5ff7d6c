package swarm

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

const (
	// maxInfoAsked is how many peers are asked at once. One that has not answered
	// the dial for infoPatience, or has not brought all in leadTime, does not count,
	// so that dead addresses and slow peers hold up nobody, within maxInfoDialled in
	// all and maxInfoAtAddr at one address, which may have any number of ports.
	maxInfoAsked   = 4
	maxInfoDialled = 16
	maxInfoAtAddr  = 2
	infoPatience   = 250 * time.Millisecond
	// infoRetry is how long after a failure a peer is asked again, doubled each
	// time; infoSoon is it for one that hangs up, as one does that has not yet
	// heard of the torrent.
	infoRetry    = 2 * time.Second
	infoSoon     = 150 * time.Millisecond
	maxInfoRetry = time.Minute
	// sharedRetry is when a peer is asked again that was spared because another
	// was sending.
	sharedRetry = time.Second
)

// infoPeer is an address that may have what is sought.
type infoPeer struct {
	ap       netip.AddrPort
	source   string
	tried    time.Time
	due      time.Time
	failures int
	busy     bool
	answered bool // the dial
}

// AddPeers makes addresses known, which are asked at once. One that failed before
// is asked again soon: somebody believes in it. source names where they came
// from, for Config.KeptOut.
func (f *InfoFetch) AddPeers(source string, addrs []netip.AddrPort) {
	now := time.Now()
	f.mu.Lock()
	for _, ap := range addrs {
		if p := f.peers[unmapped(ap)]; p != nil {
			if again := p.tried.Add(f.cfg.retry); again.Before(p.due) {
				p.due = again
			}
			continue
		}
		f.note(source, ap, now)
	}
	f.mu.Unlock()
	f.wake()
}

// heard makes addresses known that a peer has named.
func (f *InfoFetch) heard(addrs []netip.AddrPort) {
	now := time.Now()
	f.mu.Lock()
	for _, ap := range addrs {
		f.note(SourcePEX, ap, now)
	}
	f.mu.Unlock()
	f.wake()
}

func (f *InfoFetch) wake() {
	select {
	case f.added <- struct{}{}:
	default:
	}
}

// note adds an address that is not known yet; the lock is held.
func (f *InfoFetch) note(source string, ap netip.AddrPort, now time.Time) {
	ap = unmapped(ap)
	if f.peers[ap] != nil || len(f.order) >= maxAddrs || ap.Port() == 0 || !f.e.allows(source, ap) {
		return
	}
	p := &infoPeer{ap: ap, source: source, due: now}
	f.peers[ap] = p
	f.order = append(f.order, p)
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Peers are the addresses that are known, for who fetches the content next: those
// that one of the sources named first, or all when none is given.
func (f *InfoFetch) Peers(sources ...string) (out []netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.order {
		if len(sources) == 0 || slices.Contains(sources, p.source) {
			out = append(out, p.ap)
		}
	}
	return out
}

// next is a peer to ask now, the one that failed least, or how long to wait for
// one; 0 is for ever.
func (f *InfoFetch) next(now time.Time) (best *infoPeer, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	busy, asked := 0, 0
	at := map[netip.Addr]int{}
	for _, p := range f.order {
		if p.busy {
			at[p.ap.Addr()]++
		}
	}
	var room time.Duration // until one that is being dialled does not count any more
	sooner := func(d *time.Duration, n time.Duration) {
		if *d == 0 || n < *d {
			*d = n
		}
	}
	for _, p := range f.order {
		patience := infoPatience
		if p.answered {
			patience = leadTime
		}
		patience -= now.Sub(p.tried)
		switch {
		case p.busy && patience > 0:
			asked++
			busy++
			sooner(&room, patience)
		case p.busy:
			busy++
		case at[p.ap.Addr()] >= maxInfoAtAddr && !p.ap.Addr().IsLoopback():
			// One of those that are asked there will have ended before.
		case !p.due.After(now):
			if best == nil || p.failures < best.failures {
				best = p
			}
		default:
			sooner(&wait, p.due.Sub(now))
		}
	}
	switch {
	case best == nil || busy >= maxInfoDialled:
		return nil, wait
	case asked >= maxInfoAsked:
		return nil, room
	}
	best.busy, best.answered, best.tried = true, false, now
	return best, 0
}

func (f *InfoFetch) connected(p *infoPeer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.answered = true
}

// ended says when a peer is asked again that has not brought all that is sought.
func (f *InfoFetch) ended(p *infoPeer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.busy = false
	now := time.Now()
	first := f.cfg.retry
	if refused(err) {
		f.cfg.OnRefused(p.ap, err)
		if a := p.ap.Addr(); !f.named[a] {
			f.named[a] = true
			f.log.Warn("peer sent what is not the release's; others are asked before it, and what it sends further is counted", zap.Stringer("peer", p.ap), zap.Error(err))
		}
	}
	switch {
	case errors.Is(err, errBadDocs):
		// Documents are large, and others lie no less the next time. But they may be
		// those of an older release, and the peer will have the newer one later.
		p.due = now.Add(maxInfoRetry)
		p.failures++
		return
	case errors.Is(err, errElsewhere):
		p.due = now.Add(min(first, sharedRetry))
		return
	case hungUp(err):
		first = min(first, infoSoon)
	}
	p.due = now.Add(min(first<<min(p.failures, 10), maxInfoRetry))
	p.failures++
	f.log.Debug("peer has not sent what is sought", zap.Stringer("peer", p.ap), zap.Int("failures", p.failures), zap.Error(err))
}

// refused says whether an error is one of what a peer sent, and not of the way
// there or of what it does not have.
func refused(err error) bool {
	return errors.Is(err, errBadDocs) || errors.Is(err, errBadInfo) || errors.Is(err, errBadPart) || errors.Is(err, errChatter) || wire.IsProtocolError(err)
}

// release takes note that no peer is being asked any more.
func (f *InfoFetch) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.order {
		p.busy = false
	}
}
