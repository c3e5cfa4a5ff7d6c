package httpfetch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
)

// Fetcher downloads the missing pieces of one Sink.
type Fetcher struct {
	cfg    Config
	sink   Sink
	sharer Sharer // the sink, or nil
	lay    *layout.Layout
	log    *zap.Logger
	client *Client
	own    bool // the client is to be closed at the end
	ctx    context.Context
	wg     sync.WaitGroup
	nudge  chan struct{} // wakes Run

	mu       sync.Mutex
	board    *board
	mirrors  []*mirror
	lanes    map[*lane]struct{}
	growth   growth
	bell     chan struct{} // closed and replaced to wake idle lanes
	tier     int           // the worst that may be used
	got64    int64         // bytes received
	told64   int64         // of them the sharer knows
	done64   int64         // bytes delivered
	claiming int           // pieces that the Sink is being asked for
	hungry   bool          // a lane found nothing to do since the last step
	dry      time.Time     // the Sink has nothing to claim before
	changes  int           // how often that was taken back
	lonely   time.Time     // since when there is no lane
	culled   time.Time     // when the slowest lane was last looked for
	paused   error         // of the disk
	resume   time.Time     // when to try the disk again
	breaks   *breather     // how long to wait for it
}

// Times of the manager.
const (
	dryTime    = 5 * time.Second  // how long an empty claim is believed without a signal
	lonelyTime = 5 * time.Second  // how long begun pieces are kept without a connection
	idleTime   = 10 * time.Second // how long a connection without work is kept in the download
	cullTime   = time.Second
)

// New returns a fetcher; nothing is opened or claimed before Run.
func New(cfg Config) (*Fetcher, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	f := &Fetcher{
		cfg: cfg, sink: cfg.Sink, lay: cfg.Sink.Layout(), log: cfg.Log, client: cfg.Client,
		nudge: make(chan struct{}, 1), lanes: map[*lane]struct{}{}, bell: make(chan struct{}),
		breaks: newBreather(),
	}
	if f.client == nil {
		f.client, f.own = NewClient(cfg.ClientConfig), true
	}
	f.sharer, _ = cfg.Sink.(Sharer)
	f.board = newBoard(f.lay)
	for i, c := range cfg.Mirrors {
		m, err := newMirror(i, c)
		if err != nil {
			return nil, err
		}
		f.mirrors = append(f.mirrors, m)
	}
	f.tier, _ = currentTier(time.Time{}, f.tiered(), cfg.TierPatience)
	return f, nil
}

// Run downloads until every piece is there (nil), ctx ends (its error), or, with
// GiveUp, no mirror is left (*GiveUpError). What was claimed and not delivered is
// unclaimed before it returns. It is to be called once.
func (f *Fetcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	f.ctx = ctx
	f.growth = newGrowth(f.cfg.StartConns)
	for _, m := range f.mirrors {
		if m.Tier == f.tier { // what is open already costs nothing
			f.growth.target = max(f.growth.target, f.client.waiting(m.base))
		}
	}
	defer func() {
		f.finish()
		f.wg.Wait()
		cancel()
		f.unclaim(f.board.dropAll())
		for _, m := range f.Stats().Mirrors {
			f.log.Debug("what a mirror gave", zap.String("mirror", m.URL), zap.Int64("bytes", m.Bytes), zap.Int64("wasted", m.Wasted),
				zap.Int64("requests", m.Requests), zap.Int64("errors", m.Errors), zap.Int64("bad_pieces", m.BadPieces))
		}
		if f.own {
			_ = f.client.Close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.sink.Done():
			return nil
		case <-f.sink.Changed():
			f.changed()
		case <-f.nudge:
		case <-timer.C:
		}
		next := f.step()
		if err := f.hopeless(); err != nil {
			select {
			case <-f.sink.Done():
				return nil
			default:
				return err
			}
		}
		timer.Reset(next)
	}
}

// finish ends every lane. Those that wait for nothing go by themselves, so that
// their connections are kept for the next download.
func (f *Fetcher) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.lanes {
		l.retired = true
		if len(l.runs) > 0 || !l.open {
			f.abort(l)
		}
	}
	f.ring()
}

// hopeless is why a one-shot download ends.
func (f *Fetcher) hopeless() error {
	if !f.cfg.GiveUp {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused != nil {
		return fmt.Errorf("store piece: %w", f.paused)
	}
	e := &GiveUpError{}
	for _, m := range f.mirrors {
		if m.lanes > 0 || !m.health.lost(f.cfg.Attempts) {
			return nil
		}
		e.Failures = append(e.Failures, MirrorFailure{Mirror: m.name, Err: m.health.last})
	}
	return e
}

// ring wakes the lanes without work. The lock is held.
func (f *Fetcher) ring() {
	close(f.bell)
	f.bell = make(chan struct{})
}

// poke has Run look at everything soon.
func (f *Fetcher) poke() {
	select {
	case f.nudge <- struct{}{}:
	default:
	}
}

// step puts the connections in order and says how long that may stay so.
func (f *Fetcher) step() time.Duration {
	f.report()
	now := time.Now()
	f.mu.Lock()
	next := f.chooseTier(now)
	seats := f.seats(now)
	claimer := f.claimer(now, seats)
	first := 1 + int(firstRun/f.lay.PieceLength)
	if claimer != nil {
		f.claiming += first
	}
	f.mu.Unlock()
	if claimer != nil {
		f.claim(claimer, first)
	}
	f.mu.Lock()
	target := f.growth.update(f.load(now))
	f.hungry = false
	f.retire(now, target)
	f.spawn(now, target, seats)
	f.cull(now)
	drop := f.forsaken(now)
	idle := 0
	for l := range f.lanes {
		if !l.idle {
			continue
		}
		if idle++; idle > 1 {
			continue
		}
		if _, ok := f.relieve(l, now); ok {
			f.ring() // a run has become worth splitting
		}
	}
	wait := f.nextStep(now, next, idle)
	f.mu.Unlock()
	f.unclaim(drop)
	return wait
}

// chooseTier notes which tiers may be used and returns when that may change.
func (f *Fetcher) chooseTier(now time.Time) time.Time {
	tier, next := currentTier(now, f.tiered(), f.cfg.TierPatience)
	if tier != f.tier {
		f.log.Warn("mirrors of another tier are used from now on: all better ones failed, or one came back",
			zap.Int("tier", tier), zap.Int("before", f.tier), zap.Duration("tier_patience", f.cfg.TierPatience))
		f.tier = tier
		f.ring()
	}
	return next
}

func (f *Fetcher) tiered() []tiered {
	t := make([]tiered, len(f.mirrors))
	for i, m := range f.mirrors {
		t[i] = tiered{tier: m.Tier, health: &m.health, lost: f.cfg.GiveUp && m.health.lost(f.cfg.Attempts)}
	}
	return t
}

// permitted says whether the mirror may be asked for anything at all.
func (f *Fetcher) permitted(m *mirror) bool { return m.Tier <= f.tier && f.paused == nil }

// seats describes the mirrors to nextSeat.
func (f *Fetcher) seats(now time.Time) []seat {
	if f.paused != nil && !now.Before(f.resume) {
		f.paused = nil
	}
	rates := f.rates(now)
	hosts := map[string]int{}
	for _, m := range f.mirrors {
		hosts[m.host] += m.lanes
	}
	seats := make([]seat, len(f.mirrors))
	ranged := false
	for i, m := range f.mirrors {
		free := f.cfg.MaxConnsPerHost - hosts[m.host]
		s := &seats[i]
		s.usable = f.permitted(m) && !now.Before(m.health.until)
		if f.cfg.GiveUp && m.health.lost(f.cfg.Attempts) {
			s.usable = false
		}
		s.trial = m.health.onTrial()
		s.lanes = m.lanes
		s.rate = rates[i]
		s.limit = m.allowed(now, m.lanes+max(0, free))
		ranged = ranged || s.usable && !m.NoRanges
	}
	for i, m := range f.mirrors {
		// One that serves whole files only would take all pieces for itself.
		seats[i].usable = seats[i].usable && !(ranged && m.NoRanges)
	}
	return seats
}

// claimer is the mirror to claim the first pieces for, when no connection is
// there to do so.
func (f *Fetcher) claimer(now time.Time, seats []seat) *mirror {
	if len(f.lanes) > 0 || len(f.board.pieces) > 0 || now.Before(f.dry) {
		return nil
	}
	for i, s := range seats {
		if s.usable {
			return f.mirrors[i]
		}
	}
	return nil
}

// nextStep is how long to wait for the next step when nothing happens.
func (f *Fetcher) nextStep(now, tier time.Time, idle int) time.Duration {
	const tick, long = 50 * time.Millisecond, time.Minute
	if len(f.lanes) > idle {
		return tick
	}
	wait := long
	soonest := func(t time.Time) {
		if t.After(now) {
			wait = min(wait, t.Sub(now))
		}
	}
	soonest(tier)
	soonest(f.dry)
	if f.paused != nil {
		soonest(f.resume)
	}
	if !f.lonely.IsZero() {
		soonest(f.lonely.Add(lonelyTime))
	}
	if idle > 0 {
		soonest(now.Add(idleTime))
	}
	for _, m := range f.mirrors {
		if m.Tier <= f.tier {
			soonest(m.health.until)
		}
	}
	return max(wait, 10*time.Millisecond)
}
