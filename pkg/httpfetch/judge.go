package httpfetch

import (
	"errors"
	"net/url"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// errPaused ends a lane because of this node's disk.
var errPaused = errors.New("the disk did not take a piece")

// breather is how long to wait for the disk.
type breather = backoff.ExponentialBackOff

func newBreather() *breather {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
}

// maxFruitless is how many connections to a mirror may fail with no whole piece
// from it in between, while others seem to work: a server may break each of them
// after a few bytes.
const maxFruitless = 8

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}

// failed judges the mirror of a lane that failed. The lock is held.
func (f *Fetcher) failed(l *lane, flt *fault) {
	m, now := l.m, time.Now()
	m.errors++
	m.lastErr, m.lastErrAt = flt.Error(), now
	working := 0
	for o := range f.lanes {
		if o.m == m && !o.idle && !o.firstAt.IsZero() && now.Sub(o.meter.last) < 2*time.Second {
			working++
		}
	}
	if flt.class == soft {
		m.fruitless++
	}
	if flt.class <= busy && working > 0 && m.fruitless <= maxFruitless && !m.health.onTrial() {
		// The others go on: the server may bear no more connections than these.
		if l.firstAt.IsZero() || flt.class == busy {
			m.refusedOne(now, working, flt.wait)
		}
		f.log.Debug("connection to mirror failed", zap.String("mirror", m.name), zap.Error(flt), zap.Int("others", working))
		return
	}
	f.condemn(m, flt, now)
}

// condemn leaves a mirror alone for some time. The lock is held.
func (f *Fetcher) condemn(m *mirror, flt *fault, now time.Time) {
	first := !m.health.onTrial() || m.health.class != flt.class
	wait := m.health.failed(now, flt)
	fields := []zap.Field{zap.String("mirror", m.name), zap.Int("tier", m.Tier), zap.Stringer("state", flt.class), zap.Error(flt), zap.Duration("retry_in", wait.Round(time.Millisecond)), zap.Int("failures", m.health.fails)}
	switch {
	case flt.class >= liar:
		m.forget()
		f.log.Warn("mirror cannot be trusted; it is left alone for a time and then tried with one piece: check what it serves", fields...)
	case first:
		f.log.Warn("mirror failed; it is tried again", fields...)
	default:
		f.log.Debug("mirror failed again", fields...)
	}
	if flt.class >= absent {
		for o := range f.lanes {
			if o.m == m {
				f.abort(o)
			}
		}
	}
}

// deliver hands a whole piece to the Sink and judges those who sent it.
func (f *Fetcher) deliver(l *lane, p *piece) error {
	start := time.Now()
	f.mu.Lock()
	l.busy = true
	f.mu.Unlock()
	err := f.sink.Deliver(f.ctx, l.m.name, p.index, p.buf)
	f.mu.Lock()
	l.busy = false
	now := time.Now()
	l.meter.pause(now, now.Sub(start))
	f.mu.Unlock()
	switch {
	case err == nil:
		f.goodPiece(p)
		return nil
	case isBadPiece(err):
		return f.badPiece(l, p)
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	}
	return f.diskFailed(p, err)
}

func (f *Fetcher) goodPiece(p *piece) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.breaks.Reset()
	liars := f.board.good(p)
	for _, q := range p.parts {
		m := f.mirrors[q.mirror]
		m.good += q.n
		m.fruitless = 0
		if m.health.verified(now) {
			f.log.Info("mirror works again", zap.String("mirror", m.name), zap.Int("tier", m.Tier))
			f.poke()
		}
		m.lastVerified = now
	}
	for _, i := range liars {
		f.poisoned(f.mirrors[i], p.index)
	}
	f.done64 += int64(len(p.buf))
	f.board.drop(p)
	if f.narrow() {
		f.ring()
	}
}

// poisoned blames a mirror for a bad piece. The lock is held.
func (f *Fetcher) poisoned(m *mirror, index int) {
	m.bads++
	m.errors++
	flt := faultf(poison, "piece %d did not verify", index)
	m.lastErr, m.lastErrAt = flt.Error(), time.Now()
	f.condemn(m, flt, time.Now())
}

func (f *Fetcher) badPiece(l *lane, p *piece) error {
	f.mu.Lock()
	for _, q := range p.parts {
		f.mirrors[q.mirror].wasted += q.n
	}
	liar := f.board.bad(p)
	if liar >= 0 {
		f.poisoned(f.mirrors[liar], p.index)
	} else {
		f.log.Warn("piece from several mirrors did not verify; it is fetched again from one to find out which is wrong", zap.Int("piece", p.index))
	}
	f.board.drop(p)
	f.mu.Unlock()
	f.unclaim([]int{p.index})
	if liar == l.m.index {
		return errCut
	}
	return nil
}

// diskFailed pauses the download: the piece is fetched again later.
func (f *Fetcher) diskFailed(p *piece, err error) error {
	f.mu.Lock()
	if f.paused == nil {
		wait := f.breaks.NextBackOff()
		f.resume = time.Now().Add(wait)
		f.log.Warn("piece could not be stored; downloading pauses", zap.Int("piece", p.index), zap.Error(err), zap.Duration("retry_in", wait.Round(time.Millisecond)))
	}
	f.paused = err
	f.board.drop(p)
	f.mu.Unlock()
	f.unclaim([]int{p.index})
	f.poke()
	return errPaused
}

// accepted notes a right answer.
func (f *Fetcher) accepted(l *lane, a *ask, v validator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := l.m
	m.requests++
	delete(m.hops, a.file)
	if a.n < a.size {
		m.learn(a.file, v)
	}
}

// notAhead notes that the server does not bear requests sent ahead.
func (f *Fetcher) notAhead(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !l.m.serial {
		l.m.serial = true
		f.log.Debug("mirror gets one request at a time from now on", zap.String("mirror", l.m.name))
	}
}

// moved notes a redirect. It is false when there were too many of one file.
func (f *Fetcher) moved(l *lane, a *ask, to *url.URL) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.m.requests++
	if !l.m.hop(a.file) {
		return false
	}
	l.m.remember(a.file, to)
	return true
}

// strayed says whether a wrong answer came from where a redirect led, which may
// have lost its force. It is then forgotten, and the mirror asked again.
func (f *Fetcher) strayed(l *lane, a *ask) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.m.moved[a.file] != a.url || !l.m.hop(a.file) {
		return false
	}
	delete(l.m.moved, a.file)
	return true
}

func (f *Fetcher) wasted(l *lane, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.m.bytes += n
	l.m.wasted += n
}
