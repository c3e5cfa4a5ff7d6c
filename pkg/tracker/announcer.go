package tracker

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// stopGrace is how long the trackers have to hear that a peer stops.
	stopGrace = 3 * time.Second
	// plainInterval is for trackers that name none.
	plainInterval = 5 * time.Minute
	// eagerWait is the first wait of a peer that knows too few others, where the
	// tracker allows it; it doubles while nothing changes.
	eagerWait = 2 * time.Second
)

// AnnouncerConfig is one torrent's announcing.
type AnnouncerConfig struct {
	// Tiers are announce URLs as in BEP 12: the trackers of a tier are tried in
	// a random order, those of the next when all of a tier fail.
	Tiers            [][]string
	InfoHash, PeerID [20]byte
	// Port is where this peer listens.
	Port uint16
	// Stats returns what to tell the trackers. It must not block.
	Stats func() Stats
	// Peers is given the addresses that each announce brought, from a goroutine of
	// Run or of the Group, one call at a time. It must not block.
	Peers func([]netip.AddrPort)
	// Known returns the number of peers that are known from anywhere; nil counts
	// those of the last answer. While a leech knows fewer than NumWant (0: 50) it
	// announces as early as the tracker allows.
	Known   func() int
	NumWant int
	// Local is the address that UDP announces go out from, if it matters.
	Local netip.Addr
	// HTTPClient is for trackers with its own CA or proxy; nil for a plain one.
	HTTPClient *http.Client
	Log        *zap.Logger

	// announce replaces the network in tests.
	announce func(ctx context.Context, u *url.URL, r *Request) (*Response, error)
}

// Announcer keeps one torrent announced to its trackers, by itself with Run or
// with others in a Group.
type Announcer struct {
	cfg       AnnouncerConfig
	key       uint32
	ownClient bool
	eager     time.Duration // next early wait
	swarm     int           // size of the swarm at the last answer

	mu    sync.Mutex // guards what follows; never held over I/O
	tiers [][]*endpoint
	group *Group // that it was added to
	owed  bool   // "completed" is to be sent
	told  bool   // Completed was called before
}

// NewAnnouncer makes an Announcer. Addresses that are no tracker's are left out
// of the announcing and shown with their error in Status.
func NewAnnouncer(cfg AnnouncerConfig) *Announcer {
	a := &Announcer{cfg: cfg, key: rand.Uint32(), eager: eagerWait}
	c := &a.cfg
	if c.NumWant <= 0 {
		c.NumWant = DefaultWant
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Stats == nil {
		c.Stats = func() Stats { return Stats{Left: -1} }
	}
	if c.Peers == nil {
		c.Peers = func([]netip.AddrPort) {}
	}
	if c.HTTPClient == nil {
		c.HTTPClient, a.ownClient = newHTTPClient(), true
	}
	if c.announce == nil {
		c.announce = func(ctx context.Context, u *url.URL, r *Request) (*Response, error) {
			return announceOnce(ctx, c.HTTPClient, u, r, udpSchedule)
		}
	}
	a.tiers = newTiers(c.Tiers)
	return a
}

// Completed has the trackers told that the download has finished. Calls after
// the first do nothing. It is not to be called for what was complete from the
// start.
func (a *Announcer) Completed() {
	a.mu.Lock()
	first := !a.told
	a.told, a.owed = true, a.owed || first
	g := a.group
	a.mu.Unlock()
	if first && g != nil {
		g.hurry(a)
	}
}

// Run announces until ctx is done, and then tells the trackers, for at most
// three seconds, that this peer stops. It returns nil.
func (a *Announcer) Run(ctx context.Context) error {
	g := NewGroup()
	g.Add(a)
	return g.Run(ctx)
}

// hasty says whether there is something to tell, or to learn: a seed is found
// by those who come after it.
func (a *Announcer) hasty() bool { return a.owes() || a.cfg.Stats().Left != 0 }

// owes says whether an event is still to be sent.
func (a *Announcer) owes() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owed
}

// round announces to the first tracker that answers and returns how long to
// wait then; ok is false when there is no tracker to wait for.
func (a *Announcer) round(ctx context.Context) (wait time.Duration, ok bool) {
	for _, e := range a.due(time.Now()) {
		r := a.request(e)
		resp, err := a.cfg.announce(ctx, e.url, r)
		if ctx.Err() != nil && err != nil {
			a.interrupted(e)
			return 0, true
		}
		now := time.Now()
		if err != nil {
			a.failed(e, err, now)
			continue
		}
		wait := a.nextWait(resp, r.Stats.Left == 0)
		if a.succeeded(e, r.Event, resp, now, wait) {
			wait = 0 // an event is still to be sent
		}
		if len(resp.Peers) > 0 {
			a.cfg.Peers(resp.Peers)
		}
		return wait, true
	}
	return a.earliest(time.Now())
}

func (a *Announcer) request(e *endpoint) *Request {
	r := &Request{
		Local:    a.cfg.Local,
		InfoHash: a.cfg.InfoHash, PeerID: a.cfg.PeerID, Port: a.cfg.Port, Key: a.key,
		Stats: a.cfg.Stats(), NumWant: a.cfg.NumWant,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r.trackerID = e.trackerID
	switch {
	case !e.started:
		r.Event = EventStarted
	case a.owed:
		r.Event = EventCompleted
	}
	return r
}

// nextWait decides when to announce again: at the tracker's interval, or, for a
// leech that knows too few peers, earlier, but never below the min interval (the
// interval where the tracker names none, as in aria2). Early announces that
// bring no change get rarer.
func (a *Announcer) nextWait(resp *Response, seed bool) time.Duration {
	interval := resp.Interval
	if interval <= 0 {
		interval = plainInterval
	}
	least := resp.MinInterval
	if least <= 0 || least > interval {
		least = interval
	}
	known := len(resp.Peers)
	if a.cfg.Known != nil {
		known = a.cfg.Known()
	}
	if size := resp.Seeds + resp.Leeches; size != a.swarm {
		a.swarm, a.eager = size, eagerWait
	}
	wait := interval
	if !seed && known < a.cfg.NumWant {
		wait = min(max(a.eager, least), interval)
		a.eager = min(2*a.eager, plainInterval)
	}
	wait = max(wait, time.Second)
	return wait + rand.N(wait/10)
}

// stop tells the trackers that know of this peer that it leaves, until ctx ends.
func (a *Announcer) stop(ctx context.Context) {
	if a.ownClient {
		defer a.cfg.HTTPClient.CloseIdleConnections()
	}
	var wg sync.WaitGroup
	for _, e := range a.toStop() {
		r := a.request(e)
		r.Event, r.NumWant = EventStopped, 0
		wg.Go(func() {
			if _, err := a.cfg.announce(ctx, e.url, r); err != nil {
				a.cfg.Log.Debug("tracker not told that the peer stops", zap.String("tracker", e.name), zap.Error(err))
			}
		})
	}
	wg.Wait()
}
