package tracker

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Group keeps any number of torrents announced, with one goroutine for all of
// them and one for each announce that is under way. A torrent that waits for
// its next announce costs neither a goroutine nor a timer.
//
// Announces are spread: those of seeds, for which nobody waits, begin at most
// twenty a second, or for more than a thousand torrents as many as it takes to
// get round in fifty seconds. Announces with something to learn or to tell, those
// of leeches and of what has just been completed, do not wait behind them.
//
// Torrents whose trackers may fail apart belong in groups apart: the announces
// to a tracker that does not answer take up the places of the others.
type Group struct {
	kick chan struct{} // something has become due, or a place is free
	wg   sync.WaitGroup

	mu      sync.Mutex // never held over I/O or a call of what was configured
	hasty   lane
	calm    lane
	members map[*Announcer]*member
}

// Bounds of a Group: announces under way at once, and the least time between two
// of a kind. However many wait, all can be made in maxSpread.
const (
	maxHasty  = 16
	maxCalm   = 4
	maxStops  = 16
	hastyGap  = 5 * time.Millisecond
	calmGap   = 50 * time.Millisecond
	maxSpread = 50 * time.Second
)

// member is an Announcer in a Group. Announces of one never overlap.
type member struct {
	a      *Announcer
	at     time.Time          // when it is due
	place  int                // in its lane; -1 when it is in none
	cancel context.CancelFunc // of the announce under way; nil when there is none
	landed chan struct{}      // closed when that has ended
	hurry  bool               // Completed was called meanwhile
}

// NewGroup returns a Group that starts nothing before Run.
func NewGroup() *Group {
	return &Group{
		kick: make(chan struct{}, 1), members: make(map[*Announcer]*member),
		hasty: lane{limit: maxHasty, gap: hastyGap}, calm: lane{limit: maxCalm, gap: calmGap},
	}
}

// Add begins to announce a torrent, as soon as Run runs. An Announcer belongs
// to one Group at most, and is not to be run besides.
func (g *Group) Add(a *Announcer) {
	hasty := a.hasty()
	a.mu.Lock()
	a.group = g
	a.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &member{a: a, place: -1}
	g.members[a] = m
	g.queue(m, hasty, time.Now())
}

// Remove ends announcing a torrent: it tells the trackers, for at most three
// seconds, that this peer stops, and returns then. When Run does so or has done
// so, or the torrent was never added, it returns at once.
func (g *Group) Remove(a *Announcer) {
	g.mu.Lock()
	m := g.members[a]
	if m == nil {
		g.mu.Unlock()
		return
	}
	delete(g.members, a)
	g.unqueue(m)
	landed := m.landed
	if m.cancel != nil {
		m.cancel()
	}
	g.mu.Unlock()
	if landed != nil {
		<-landed
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	a.stop(ctx)
}

// Run announces until ctx is done, and then tells the trackers of all torrents,
// for at most three seconds, that this peer stops. It returns nil.
func (g *Group) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.kick:
		}
		if ctx.Err() != nil { // whatever else was ready
			g.end(ctx)
			return nil
		}
		if wait, ok := g.launch(ctx, time.Now()); ok {
			timer.Reset(wait)
		} else {
			timer.Stop() // until a kick
		}
	}
}

// launch begins the announces that are due and returns the time until the next
// one is; ok is false when none waits for a time.
func (g *Group) launch(ctx context.Context, now time.Time) (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range []*lane{&g.hasty, &g.calm} {
		for {
			m, w, waits := l.next(now)
			if waits && (!ok || w < wait) {
				wait, ok = w, true
			}
			if m == nil {
				break
			}
			mctx, cancel := context.WithCancel(ctx)
			m.cancel, m.landed = cancel, make(chan struct{})
			g.wg.Go(func() { g.announce(mctx, l, m) })
		}
	}
	return wait, ok
}

// announce makes one announce of a member and queues the next.
func (g *Group) announce(ctx context.Context, l *lane, m *member) {
	wait, again := m.a.round(ctx)
	hasty := m.a.hasty()
	g.mu.Lock()
	defer g.mu.Unlock()
	l.flying--
	m.cancel()
	close(m.landed)
	m.cancel, m.landed = nil, nil
	if m.hurry && m.a.owes() {
		wait, again = 0, true
	}
	m.hurry = false
	if again && g.members[m.a] == m {
		g.queue(m, hasty, time.Now().Add(wait))
	}
	g.signal() // there is a free place
}

// hurry announces a member at once, since it has something to tell.
func (g *Group) hurry(a *Announcer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[a]
	switch {
	case m == nil:
	case m.cancel != nil:
		m.hurry = true
	default:
		g.unqueue(m)
		g.queue(m, true, time.Now())
	}
}

// end tells the trackers of all members that this peer stops.
func (g *Group) end(ctx context.Context) {
	g.mu.Lock()
	var all []*Announcer
	for a, m := range g.members {
		g.unqueue(m)
		all = append(all, a)
	}
	clear(g.members)
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	g.wg.Wait() // their contexts have ended
	var stops errgroup.Group
	stops.SetLimit(maxStops)
	for _, a := range all {
		stops.Go(func() error { a.stop(ctx); return nil })
	}
	_ = stops.Wait()
}

// queue and unqueue are called with g.mu held.
func (g *Group) queue(m *member, hasty bool, at time.Time) {
	m.at = at
	if hasty {
		g.hasty.push(m)
	} else {
		g.calm.push(m)
	}
	g.signal()
}

func (g *Group) unqueue(m *member) {
	if !g.hasty.remove(m) {
		g.calm.remove(m)
	}
}

func (g *Group) signal() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}
