package httpfetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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

// changed is called when the Sink may have something to claim again, or wants
// something back.
func (f *Fetcher) changed() {
	var yield, drop []int
	if f.sharer != nil {
		yield = f.sharer.Yield()
	}
	f.mu.Lock()
	f.dry = time.Time{}
	f.changes++
	for _, i := range yield {
		if f.board.yield(i) {
			drop = append(drop, i)
		}
	}
	if len(yield) > 0 {
		f.endPointless()
	}
	f.ring()
	f.mu.Unlock()
	slices.Sort(drop)
	f.unclaim(drop)
}

// endPointless ends the connections over which nothing comes any more but what
// another brings as well, so that a slow line has room for what is still wanted.
func (f *Fetcher) endPointless() {
	for l := range f.lanes {
		if l.aborted || l.busy || l.idle || len(l.runs) == 0 {
			continue
		}
		var n int64
		all := true
		for _, r := range l.runs {
			k, ok := f.board.pointless(r)
			n, all = n+k, all && ok
		}
		if all && n > smallBody {
			f.abort(l)
		}
	}
}

// report tells the sharer what has come. The lock is not held.
func (f *Fetcher) report() {
	if f.sharer == nil {
		return
	}
	f.mu.Lock()
	n := f.got64 - f.told64
	f.told64 = f.got64
	f.mu.Unlock()
	if n > 0 {
		f.sharer.Received(n)
	}
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

// load is what decides how many connections there should be.
func (f *Fetcher) load(now time.Time) load {
	l := load{now: now, bytes: f.got64, hungry: f.hungry, limit: f.cfg.MaxConns}
	seen := map[string]bool{}
	room := 0
	for _, m := range f.mirrors {
		if !f.permitted(m) || m.health.onTrial() {
			continue
		}
		l.rtt = max(l.rtt, m.rtt)
		most := m.allowed(now, f.cfg.MaxConnsPerHost)
		if most < f.cfg.MaxConnsPerHost || !seen[m.host] {
			room += most
		}
		seen[m.host] = true
	}
	l.limit = max(1, min(l.limit, room))
	for lane := range f.lanes {
		if lane.open && !lane.m.health.onTrial() {
			l.conns++
		}
	}
	return l
}

// spawn adds connections until there are as many as there should be, and those
// of mirrors on trial, which come on top of any cap.
func (f *Fetcher) spawn(now time.Time, target int, seats []seat) {
	for f.workLikely(now) {
		i := nextSeat(seats, target)
		if i < 0 {
			return
		}
		seats[i].lanes++
		f.start(f.mirrors[i], now)
	}
}

// workLikely says whether another connection would find something to do.
func (f *Fetcher) workLikely(now time.Time) bool {
	if len(f.board.gaps) > 0 {
		return true
	}
	mean := f.meanRate(now)
	stuck, dialling := false, false
	for l := range f.lanes {
		if l.idle {
			return false
		}
		dialling = dialling || !l.open
		for _, p := range f.progress(l, now, mean) {
			stuck = stuck || p.finish() > 3*time.Second
		}
	}
	if !now.Before(f.dry) {
		return len(f.lanes) > 0
	}
	return stuck && !dialling
}

func (f *Fetcher) start(m *mirror, now time.Time) {
	ctx, cancel := context.WithCancel(f.ctx)
	l := &lane{f: f, m: m, ctx: ctx, cancel: cancel}
	l.meter.begin(now)
	f.lanes[l] = struct{}{}
	m.lanes++
	f.wg.Go(func() {
		defer cancel()
		f.ended(l, l.work())
	})
}

// retire ends connections that are too many or have had nothing to do for
// long, and those to mirrors that may not be used any more.
func (f *Fetcher) retire(now time.Time, target int) {
	var normal []*lane
	for l := range f.lanes {
		switch {
		case l.retired:
		case !f.permitted(l.m), l.idle && now.Sub(l.idleAt) > idleTime:
			l.retired = true
		case !l.m.health.onTrial():
			normal = append(normal, l)
		}
	}
	if len(normal) > target {
		slices.SortFunc(normal, func(a, b *lane) int { return cmp.Compare(a.worth(now), b.worth(now)) })
		for _, l := range normal[:len(normal)-target] {
			l.retired = true
		}
	}
	f.ringRetired()
}

// worth orders lanes by how much would be lost with them.
func (l *lane) worth(now time.Time) float64 {
	if l.idle {
		return -1
	}
	return l.meter.at(now)
}

func (f *Fetcher) ringRetired() {
	for l := range f.lanes {
		if l.retired && l.idle {
			f.ring()
			return
		}
	}
}

// cull ends a connection that has fallen far below its siblings, so that a new
// one takes its place.
func (f *Fetcher) cull(now time.Time) {
	if now.Sub(f.culled) < cullTime {
		return
	}
	f.culled = now
	for _, m := range f.mirrors {
		var rates []float64
		var worst *lane
		for l := range f.lanes {
			old := !l.firstAt.IsZero() && now.Sub(l.firstAt) > 3*time.Second+20*m.rtt
			if l.m != m || l.idle || l.busy || l.aborted || !old {
				continue
			}
			r := l.meter.at(now)
			rates = append(rates, r)
			if worst == nil || r < worst.meter.at(now) {
				worst = l
			}
		}
		if len(rates) < 4 {
			continue
		}
		slices.Sort(rates)
		if worst.meter.at(now) < rates[len(rates)/2]/8 {
			f.abort(worst)
		}
	}
}

// abort ends a lane at once; what it has not received goes to others.
func (f *Fetcher) abort(l *lane) {
	l.aborted = true
	l.cancel()
}

// forsaken gives up pieces that nobody is fetching.
func (f *Fetcher) forsaken(now time.Time) []int {
	if len(f.lanes) > 0 || len(f.board.pieces) == 0 {
		f.lonely = time.Time{}
		return nil
	}
	if f.lonely.IsZero() {
		f.lonely = now
	}
	if now.Sub(f.lonely) < lonelyTime {
		return nil
	}
	return f.board.dropAll()
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

// unclaim gives pieces back to the Sink. The lock is not held.
func (f *Fetcher) unclaim(pieces []int) {
	for i := 0; i < len(pieces); {
		j := i + 1
		for j < len(pieces) && pieces[j] == pieces[j-1]+1 {
			j++
		}
		f.sink.Unclaim(pieces[i], j-i)
		i = j
	}
	if len(pieces) > 0 {
		f.mu.Lock()
		f.dry = time.Time{}
		f.changes++
		f.mu.Unlock()
		f.poke()
	}
}

// ended takes back what a lane had and judges how it ended.
func (f *Fetcher) ended(l *lane, err error) {
	f.mu.Lock()
	var drop []int
	for _, r := range l.runs {
		drop = append(drop, f.board.release(r)...)
	}
	l.runs = nil
	delete(f.lanes, l)
	l.m.lanes--
	if err != nil && l.ctx.Err() == nil && !errors.Is(err, errPaused) {
		f.failed(l, asFault(err))
	}
	f.ring()
	f.mu.Unlock()
	slices.Sort(drop)
	f.unclaim(drop)
	f.poke()
}
