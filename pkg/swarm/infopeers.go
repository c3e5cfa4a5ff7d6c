package swarm

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// maxInfoAsked is how many peers are asked at once. One that has not answered
	// the dial for infoPatience does not count, so that dead addresses hold up
	// nobody, within maxInfoDialled in all.
	maxInfoAsked   = 4
	maxInfoDialled = 16
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
	liar     bool // sent documents that are others
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
	var room time.Duration // until one that is being dialled does not count any more
	sooner := func(d *time.Duration, n time.Duration) {
		if *d == 0 || n < *d {
			*d = n
		}
	}
	for _, p := range f.order {
		switch patience := p.tried.Add(infoPatience).Sub(now); {
		case p.liar:
		case p.busy && (p.answered || patience > 0):
			asked++
			busy++
			if !p.answered {
				sooner(&room, patience)
			}
		case p.busy:
			busy++
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
	switch {
	case errors.Is(err, errBadDocs):
		p.liar = true
		f.log.Warn("peer sent documents that are not the release's; it is not asked again", zap.Stringer("peer", p.ap), zap.Error(err))
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

// release takes note that no peer is being asked any more.
func (f *InfoFetch) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.order {
		p.busy = false
	}
}
