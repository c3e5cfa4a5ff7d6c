package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

const (
	// maxChannels is how many channels an upstream can make a Watch follow.
	maxChannels = 1000
	// maxFilter is how many channels are named to the upstream; with more,
	// all are asked for and the others passed over.
	maxFilter = 200
	// streamRate and streamBurst bound how fast an event stream is read, in
	// bytes a second and bytes, so that one without end costs little.
	streamRate  = 1 << 20
	streamBurst = 4 << 20
	// lived is how long a stream must have lasted for the next failure to be
	// taken as the first one.
	lived = 10 * time.Second
	// withoutEvents is how long an upstream that has no events is polled
	// before they are tried again; withoutNow when it just has none to give.
	withoutEvents = 10 * time.Minute
	withoutNow    = time.Minute
)

// noEventsError says that the upstream answers but gives no events.
type noEventsError struct {
	why   error
	retry time.Duration
}

func (e *noEventsError) Error() string { return "no events: " + e.why.Error() }
func (e *noEventsError) Unwrap() error { return e.why }

// watch is one call of Watch.
type watch struct {
	c     *Client
	fn    func(channel string)
	named bool // the caller has named the channels: others are passed over
	// known has the channels that are followed, with what their pointers were
	// told by when they were polled; order has them as they came.
	known map[string]string
	order []string
	// bad has what was wrong with the answers of channels when they were polled
	// last.
	bad   map[string]string
	state string // for the log: what was said last
}

// Watch calls fn with the name of a channel whenever that channel may have
// news, and once for each channel that it knows after every time it has
// connected. It follows the channels named, or, when none is named, all that
// the upstream tells of. It keeps trying until ctx ends, and returns ctx's
// error. fn is called from one goroutine, and must not block.
func (c *Client) Watch(ctx context.Context, channels []string, fn func(channel string)) error {
	w := &watch{c: c, fn: fn, named: len(channels) > 0, known: map[string]string{}, bad: map[string]string{}}
	for _, ch := range channels {
		if err := checkChannel(ch); err != nil {
			return err
		}
		w.add(ch)
	}
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(c.opts.RetryMax), backoff.WithMaxElapsedTime(0))
	for {
		start := time.Now()
		err := w.follow(ctx)
		var none *noEventsError
		if errors.As(err, &none) && ctx.Err() == nil && len(w.order) > 0 {
			w.say(zap.InfoLevel, polling, err)
			w.poll(ctx, time.Now().Add(none.retry))
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, &none) {
			err = fmt.Errorf("%w; it does not tell its channels, so they must be named", err)
		}
		w.c.met(err)
		w.say(zap.WarnLevel, "cannot follow the upstream's events; trying again", err)
		if time.Since(start) >= lived {
			pause.Reset()
		}
		if !sleep(ctx, pause.NextBackOff()) {
			return ctx.Err()
		}
	}
}

// say logs a change of state, also to another reason for the same state; the
// same again is for debugging only.
func (w *watch) say(level zapcore.Level, text string, err error) {
	state := text
	if err != nil {
		state += ": " + withoutPorts(err.Error())
	}
	if w.state == state {
		level = zap.DebugLevel
	}
	w.state = state
	w.c.log.Log(level, text, zap.String("upstream", w.c.Base()), zap.Error(err))
}

// withoutPorts takes the addresses of connections out of an error's text: the
// own port is another one each time.
func withoutPorts(text string) string { return connection.ReplaceAllString(text, "") }

var connection = regexp.MustCompile(`\S+:\d+->\S+:\d+`)

// add makes a channel known and says whether it may be followed.
func (w *watch) add(ch string) bool {
	if _, ok := w.known[ch]; ok {
		return true
	}
	if len(w.order) >= maxChannels {
		w.c.log.Debug("upstream has too many channels; this one is not followed", zap.String("channel", ch))
		return false
	}
	w.known[ch] = ""
	w.order = append(w.order, ch)
	return true
}

// follow reads one event stream to its end.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u := w.eventsURL()
	resp, err := w.c.do(ctx, u, question{})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := checkStream(resp, u); err != nil {
		return err
	}
	w.c.met(nil)
	in := &aliveReader{ctx: ctx, r: resp.Body, silence: w.c.opts.Silence, limit: rate.NewLimiter(streamRate, streamBurst)}
	in.timer = time.AfterFunc(in.silence, func() {
		cancel(fmt.Errorf("%w: no event and no ping for %v", ErrStalled, in.silence))
	})
	defer in.timer.Stop()
	for _, ch := range w.order {
		w.fn(ch)
	}
	err = explain(ctx, u, w.read(newEventReader(in)))
	if in.n == 0 && errors.Is(err, ErrStalled) {
		// Something in between holds the stream back until its end.
		return &noEventsError{why: err, retry: withoutEvents}
	}
	return err
}

func (w *watch) eventsURL() *url.URL {
	u := w.c.url("v1/events")
	if w.named && len(w.order) <= maxFilter {
		u.RawQuery = url.Values{"channel": w.order}.Encode()
	}
	return u
}

// checkStream tells an event stream from what servers without one answer:
// buckets say 403 for what they do not have, web applications their front page.
func checkStream(resp *http.Response, u *url.URL) error {
	if err := checkAnswer(resp, u); err != nil {
		var status *StatusError
		if !errors.As(err, &status) {
			return err
		}
		retry := max(withoutNow, status.RetryAfter)
		switch status.Code {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented:
			retry = withoutEvents
		}
		return &noEventsError{why: err, retry: retry}
	}
	if ct, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || ct != "text/event-stream" {
		return &noEventsError{why: fmt.Errorf("GET %s: the answer is of type %.80q", u.Redacted(), resp.Header.Get("Content-Type")), retry: withoutEvents}
	}
	return nil
}

func (w *watch) read(r *eventReader) error {
	for {
		ev, err := r.next()
		if errors.Is(err, io.EOF) {
			return errors.New("the event stream ended")
		}
		if err != nil {
			return err
		}
		if w.state != "" {
			w.state = ""
			w.c.log.Info("following the upstream's events again", zap.String("upstream", w.c.Base()))
		}
		ch, ok := ev.channel()
		if !ok {
			continue
		}
		if _, known := w.known[ch]; w.named && !known || !w.add(ch) {
			continue
		}
		w.c.tell(ch, ev)
		w.fn(ch)
	}
}

// aliveReader puts off the end by silence whenever something comes, and reads
// no faster than the limit.
type aliveReader struct {
	ctx     context.Context
	r       io.Reader
	timer   *time.Timer
	silence time.Duration
	limit   *rate.Limiter
	n       int64
}

// Read reads from the stream.
func (a *aliveReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p[:min(len(p), streamBurst)])
	if n > 0 {
		a.n += int64(n)
		a.timer.Reset(a.silence)
		if werr := a.limit.WaitN(a.ctx, n); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
