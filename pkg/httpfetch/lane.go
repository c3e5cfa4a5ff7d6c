package httpfetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxAsks bounds the requests that one connection has outstanding.
const maxAsks = 16

// errCut ends a connection whose answer was cut short by its own side.
var errCut = errors.New("the rest of the answer is not wanted")

// ask is one request for a part of one file.
type ask struct {
	run    *run
	file   int
	off, n int64 // in the file
	size   int64 // of the file
	url    *url.URL
	known  validator
	ahead  bool // sent while another answer was outstanding
}

// lane is one connection at work, from dialling to its end. Its goroutine is
// the only one to touch the first block; the second is guarded by the Fetcher's
// lock.
type lane struct {
	f      *Fetcher
	m      *mirror
	ctx    context.Context
	cancel context.CancelFunc
	conn   *conn
	free   func() bool // detaches conn from ctx
	asks   []*ask
	slow   slowness
	// closing says that the server closes the connection after this answer.
	closing bool

	runs    []*run // in the order of asks
	meter   meter
	open    bool // connected
	idle    bool // has nothing to do
	busy    bool // is delivering a piece
	aborted bool // was cancelled because its work goes to another
	retired bool // is to end when its requests are answered
	idleAt  time.Time
	firstAt time.Time // when its first bytes came
}

// work is the lane's goroutine.
func (l *lane) work() error {
	if err := l.connect(l.f.target(l)); err != nil {
		return err
	}
	var err error
	if l.m.NoRanges {
		err = l.stream()
	} else {
		err = l.serve()
	}
	if l.free() && err == nil && len(l.asks) == 0 {
		l.f.client.put(l.conn)
	} else {
		_ = l.conn.Close()
	}
	if errors.Is(err, errCut) {
		return nil
	}
	return err
}

// connect gets a connection to the host of u, which ends with the lane's
// context until free is called.
func (l *lane) connect(u *url.URL) error {
	k, err := l.f.client.get(l.ctx, u)
	if err != nil {
		return err
	}
	l.conn, l.free, l.closing = k, interrupt(l.ctx, k), false
	l.f.opened(l)
	return nil
}

// serve sends requests and receives their answers until there is nothing more
// to do, or the connection cannot be used for more.
func (l *lane) serve() error {
	for {
		if len(l.asks) == 0 {
			sent, err := l.more(true)
			if err != nil || !sent {
				return err
			}
		}
		if err := l.receive(); err != nil {
			return err
		}
	}
}

// more sends the next request. It may wait for work when it has none, and is
// false when there is none.
func (l *lane) more(wait bool) (bool, error) {
	r := l.f.nextRun(l, wait)
	if r == nil {
		return false, nil
	}
	a, err := l.f.nextAsk(l, r)
	if err != nil {
		return false, err
	}
	a.ahead = len(l.asks) > 0
	if hostKey(a.url) != l.conn.key {
		// The file was redirected to another host.
		if a.ahead {
			return false, nil
		}
		l.free()
		_ = l.conn.Close()
		if err := l.connect(a.url); err != nil {
			return false, err
		}
	}
	l.f.asked(l, a)
	l.asks = append(l.asks, a)
	if err := l.send(a); err != nil {
		return false, l.noAnswer(a, err)
	}
	return true, nil
}

func (l *lane) send(a *ask) error {
	h := http.Header{}
	if !l.m.NoRanges {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", a.off, a.off+a.n-1))
		if v := a.known.ifRange(); v != "" {
			h.Set("If-Range", v)
		}
	}
	return l.conn.send(http.MethodGet, a.url, h, l.f.cfg.HeaderTimeout)
}

// receive takes the answer to the oldest request.
func (l *lane) receive() error {
	a := l.asks[0]
	if !a.ahead {
		l.f.waiting(l)
	}
	resp, err := l.conn.receive(http.MethodGet, l.f.cfg.HeaderTimeout)
	if err != nil {
		return l.noAnswer(a, err)
	}
	if isRedirect(resp.StatusCode) {
		return l.redirect(a, resp)
	}
	want := wanted{off: a.off, n: a.n, size: a.size, known: a.known, noRanges: l.m.NoRanges}
	if err := checkResponse(resp, want, time.Now()); err != nil {
		if l.f.strayed(l, a) {
			return errCut
		}
		return l.blame(a, err)
	}
	l.f.accepted(l, a, validatorOf(resp.Header))
	l.closing = resp.Close
	if err := l.body(a, resp.Body); err != nil {
		return err
	}
	l.asks = l.asks[1:]
	l.conn.answers++
	if l.closing {
		return errCut
	}
	return nil
}

// noAnswer explains a connection that ended or stalled before a header.
func (l *lane) noAnswer(a *ask, err error) error {
	if l.ctx.Err() != nil {
		return errCut // ended from this side
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return faultf(soft, "no answer for %v", l.f.cfg.HeaderTimeout)
	}
	if l.conn.stale() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err)) {
		// The server may close a connection between two answers.
		if a.ahead {
			l.f.notAhead(l)
		}
		return errCut
	}
	return l.blame(a, err)
}

// blame passes a fault on, but for a request that was sent ahead it is first
// tried whether the server merely does not bear that.
func (l *lane) blame(a *ask, err error) error {
	if a.ahead && asFault(err).class != busy {
		l.f.notAhead(l)
		return errCut
	}
	return err
}

// redirect follows a redirect of one file: the next request for it goes to where
// it leads.
func (l *lane) redirect(a *ask, resp *http.Response) error {
	to, err := l.f.client.redirected(a.url, resp.Header.Get("Location"))
	if err != nil {
		return l.blame(a, err)
	}
	if !l.f.moved(l, a, to) {
		return faultf(liar, "more than %d redirects of one file", maxRedirects)
	}
	return errCut
}

// body reads the answer's body into the pieces' buffers.
func (l *lane) body(a *ask, body io.Reader) error {
	l.slow = slowness{since: time.Now()}
	left := a.n
	for left > 0 {
		l.deadline()
		dst, rate := l.f.window(l, a.run, left)
		l.conn.gather(left, rate)
		if len(dst) == 0 {
			return l.cut(body, left)
		}
		n, err := body.Read(dst)
		left -= int64(n)
		if n > 0 {
			if err := l.got(a, n); err != nil {
				return err
			}
		}
		if err != nil && (left > 0 || !errors.Is(err, io.EOF)) {
			return l.broken(err, left)
		}
	}
	var one [1]byte
	if n, err := body.Read(one[:]); n > 0 {
		return faultf(liar, "body is longer than the range that was asked for")
	} else if !errors.Is(err, io.EOF) {
		return l.broken(err, 0)
	}
	return nil
}

// deadline bounds how long the next read may stall. On a connection that is
// closed it fails, and so does the read.
func (l *lane) deadline() { _ = l.conn.SetReadDeadline(time.Now().Add(l.f.cfg.IdleTimeout)) }

// broken explains a body that ended before its time.
func (l *lane) broken(err error, left int64) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return faultf(soft, "no byte for %v", l.f.cfg.IdleTimeout)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return faultf(soft, "body ended %d bytes early", left)
	}
	return fmt.Errorf("body: %w", err)
}

// got accounts for n bytes that were read, delivers the piece that they made
// whole, and sees to it that the server has the next request in time.
func (l *lane) got(a *ask, n int) error {
	now := time.Now()
	p := l.f.got(l, a.run, n, now)
	if err := l.slow.add(now, n, l.f.cfg.MinRate, l.f.cfg.MinRateTime); err != nil {
		return err
	}
	if err := wait(l.ctx, l.f.cfg.Limiter, n); err != nil {
		return err
	}
	if p != nil {
		if err := l.f.deliver(l, p); err != nil {
			return err
		}
	}
	l.slow.pause(time.Since(now))
	for !l.closing && len(l.asks) < maxAsks && l.f.wantsAhead(l) {
		if sent, err := l.more(false); err != nil || !sent {
			return err
		}
	}
	return nil
}

// wait takes n bytes from a limiter, if there is one, in parts that fit its
// burst.
func wait(ctx context.Context, lim Limiter, n int) error {
	for lim != nil && n > 0 {
		k := min(n, max(1, lim.Burst()))
		if err := lim.WaitN(ctx, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// cut ends an answer whose rest was given to another connection. A short rest
// is read, which is cheaper than a new connection.
func (l *lane) cut(body io.Reader, left int64) error {
	if left > smallBody {
		return errCut
	}
	n, err := io.CopyN(io.Discard, body, left)
	l.f.wasted(l, n)
	if err != nil {
		return errCut
	}
	if n, _ := body.Read(make([]byte, 1)); n > 0 {
		return errCut
	}
	return nil
}

// slowness watches for a connection that is kept alive by a trickle.
type slowness struct {
	since time.Time
	bytes int64
}

// pause leaves a time out in which nothing was waited for.
func (s *slowness) pause(d time.Duration) { s.since = s.since.Add(d) }

func (s *slowness) add(now time.Time, n int, least int64, over time.Duration) error {
	s.bytes += int64(n)
	d := now.Sub(s.since)
	if d < over {
		return nil
	}
	rate := int64(float64(s.bytes) / d.Seconds())
	s.since, s.bytes = now, 0
	if rate < least {
		return faultf(soft, "%d bytes/s over %v, less than the %d that are required", rate, d.Round(time.Second), least)
	}
	return nil
}
