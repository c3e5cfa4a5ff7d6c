package node

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	xrate "golang.org/x/time/rate"

	"distd/internal/store"
)

// scrubber compares the releases with their manifests: all of them now and then
// in the background, at a low rate, and those that an operator names at once. One
// check or repair runs at a time; an operator's takes the turn from the background's,
// which goes on where it was.
type scrubber struct {
	node *Node
	log  *zap.Logger
	turn chan struct{} // holds a token while somebody checks or repairs
	wake chan struct{} // the settings have changed

	read, repaired atomic.Int64 // bytes that the background has read, entries put right

	mu      sync.Mutex
	waiting int                // operators that want the turn
	pause   context.CancelFunc // takes it from the background; nil when it has none
	state   scrubState
	saved   time.Time
}

const (
	scrubTick    = 200 * time.Millisecond
	scrubChunk   = 256 << 10
	scrubSave    = 30 * time.Second // how much of a pass may be done again after a crash
	mendAgain    = time.Hour        // after what time a repair that failed is tried again
	maxLogged    = 20               // problems of one release, each with a line
	maxRemembers = 100              // problems of one release, in the state
)

func newScrubber(n *Node) *scrubber {
	s := &scrubber{node: n, log: n.log.Named("scrub"), turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.load()
	return s
}

// wakeUp makes the background look at the settings.
func (s *scrubber) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the background. It stays on a thread of its own, which ends with it and
// takes the low priority along.
func (s *scrubber) run(ctx context.Context) error {
	runtime.LockOSThread()
	if err := idlePriority(); err != nil {
		s.log.Debug("no low priority for reading", zap.Error(err))
	}
	for {
		wait, what := s.next(time.Now())
		if what != nil {
			what(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-time.After(min(wait, time.Minute)):
		}
	}
}

// next is what is to be done now, or how long there is nothing.
func (s *scrubber) next(now time.Time) (time.Duration, func(context.Context)) {
	cfg := s.node.cfg.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg.ScrubRepair && len(s.state.Found) > 0 && now.Sub(s.state.Mended) >= mendAgain {
		return 0, s.mendFound
	}
	if cfg.Scrub == 0 {
		return time.Hour, nil
	}
	if s.state.Started.IsZero() {
		if wait := s.state.Finished.Add(cfg.Scrub).Sub(now); wait > 0 {
			return wait, nil
		}
	}
	return 0, s.pass
}

// pass checks the releases that this pass has not come to yet.
func (s *scrubber) pass(ctx context.Context) {
	s.mu.Lock()
	if s.state.Started.IsZero() {
		s.state.Started = time.Now().UTC().Truncate(time.Second)
		s.log.Info("comparing all releases with their manifests", zap.Int64("bytes_a_second", int64(s.node.cfg.Load().ScrubRate)))
	}
	s.mu.Unlock()
	for s.node.cfg.Load().Scrub > 0 {
		id := s.nextRelease()
		if id == "" {
			s.passed()
			return
		}
		if err := s.checkGently(ctx, id); err != nil {
			if ctx.Err() != nil {
				s.save() // the position
				return
			}
			s.log.Error("release could not be compared with its manifest", zap.String("release", id), zap.Error(err))
		}
	}
}

// passed notes the end of a pass.
func (s *scrubber) passed() {
	s.mu.Lock()
	took := time.Since(s.state.Started)
	s.state.Started, s.state.Finished, s.state.Done = time.Time{}, time.Now().UTC().Truncate(time.Second), nil
	s.state.Passes++
	damaged := len(s.state.Found)
	s.mu.Unlock()
	s.save()
	s.log.Info("all releases were compared with their manifests", zap.Int("damaged_releases", damaged), zap.Duration("took", took.Round(time.Second)))
}

// nextRelease is the first complete release that this pass has not done: what is
// live first, then from new to old. What is gone is forgotten.
func (s *scrubber) nextRelease() string {
	st := s.node.store
	var live, rest []string
	there := map[string]bool{}
	for _, r := range slices.Backward(st.Releases()) {
		if !r.Complete {
			continue
		}
		there[r.ID] = true
		if id, _ := st.Live(r.Manifest.Channel); id == r.ID {
			live = append(live, r.ID)
		} else {
			rest = append(rest, r.ID)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.state.Found {
		if !there[id] {
			delete(s.state.Found, id)
		}
	}
	if pos := s.state.Release; pos != "" && there[pos] { // in the middle of it
		return pos
	}
	for _, id := range append(live, rest...) {
		if !slices.Contains(s.state.Done, id) {
			return id
		}
	}
	return ""
}

// errPaused says that an operator has taken the turn.
var errPaused = errors.New("an operator's check goes first")

// checkGently checks one release in the background, from where it was left, and
// repairs it where that is wanted.
func (s *scrubber) checkGently(ctx context.Context, id string) error {
	for {
		err := s.background(ctx, func(inner context.Context) error {
			rep, err := s.checkFromPosition(inner, id)
			if err != nil {
				return err
			}
			s.note(rep)
			return s.mendIfWanted(inner, rep)
		})
		switch {
		case errors.Is(err, errPaused):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile, unless its folder is broken
			if _, gone := s.node.store.Release(id); gone != nil {
				err = nil
			}
		}
		s.mu.Lock()
		s.state.Release, s.state.Piece, s.state.Bad = "", 0, nil
		s.state.Done = append(s.state.Done, id)
		s.mu.Unlock()
		s.save()
		return err
	}
}

func (s *scrubber) checkFromPosition(ctx context.Context, id string) (*store.Report, error) {
	s.mu.Lock()
	if s.state.Release != id {
		s.state.Release, s.state.Piece, s.state.Bad = id, 0, nil
	}
	o := store.CheckOptions{Pace: s.pacer(), From: s.state.Piece, Bad: s.state.Bad}
	s.mu.Unlock()
	o.Step = func(next int, bad []int) {
		s.mu.Lock()
		s.state.Piece, s.state.Bad = next, bad
		due := time.Since(s.saved) > scrubSave
		s.mu.Unlock()
		if due {
			s.save()
		}
	}
	return s.node.store.Check(ctx, id, o)
}

// pacer holds the background back to its rate, which may change meanwhile.
func (s *scrubber) pacer() func(context.Context, int) error {
	lim := xrate.NewLimiter(xrate.Inf, scrubChunk)
	return func(ctx context.Context, n int) error {
		want := xrate.Inf
		if r := s.node.cfg.Load().ScrubRate; r > 0 {
			want = xrate.Limit(r)
		}
		if lim.Limit() != want {
			lim.SetLimit(want)
		}
		s.read.Add(int64(n))
		return lim.WaitN(ctx, n)
	}
}

// background calls fn with the turn, and ends its context when an operator wants
// it: errPaused then.
func (s *scrubber) background(ctx context.Context, fn func(context.Context) error) error {
	for {
		s.mu.Lock()
		free := s.waiting == 0
		s.mu.Unlock()
		if free {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scrubTick):
		}
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.pause = cancel
	s.mu.Unlock()
	err := fn(inner)
	s.mu.Lock()
	s.pause = nil
	s.mu.Unlock()
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		return errPaused
	}
	return err
}

// foreground calls fn with the turn for an operator.
func (s *scrubber) foreground(ctx context.Context, fn func() error) error {
	s.mu.Lock()
	s.waiting++
	if s.pause != nil {
		s.pause()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	return fn()
}
