package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// Limits of one request.
const (
	// tries is how often a request is made, at most. With the pauses between
	// them they outlast a failure of a minute or two. Before anything was sent
	// a failure is more often a mistake, which is to be told soon.
	tries, lookTries = 9, 4
	// stall is how long a request may carry no byte and get no answer: a store
	// may take minutes to join the parts of a large object.
	stall = 5 * time.Minute
)

var errStalled = fmt.Errorf("nothing was sent or answered for %v", stall)

// request makes a request again and again until it works, or fails for a reason
// that will not pass. op and key say what it is about. alive puts off its end
// by the watch over requests that hang.
func (c *Channel) request(ctx context.Context, op, key string, fn func(ctx context.Context, alive func()) error) error {
	once := func() error {
		rctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		watch := time.AfterFunc(stall, func() { cancel(&TemporaryError{errStalled}) })
		defer watch.Stop()
		err := fn(rctx, func() { watch.Reset(stall) })
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return backoff.Permanent(ended(ctx))
		case rctx.Err() != nil:
			return context.Cause(rctx)
		}
		var passes *TemporaryError
		if !errors.As(err, &passes) {
			return backoff.Permanent(err)
		}
		return err
	}
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	err := backoff.RetryNotify(once, backoff.WithContext(backoff.WithMaxRetries(pause, c.tries-1), ctx), func(err error, d time.Duration) {
		c.log.Warn("request to the bucket failed; trying again", zap.String("request", op), zap.String("key", key), zap.Error(err), zap.Duration("again_in", d))
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// ended says why ctx has ended: that it was cancelled, or what its time limit
// was for.
func ended(ctx context.Context) error {
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return context.Cause(ctx)
}

// progress counts bytes that were sent, or were there already.
type progress struct {
	mu          sync.Mutex
	done, total int64
	tell        func(done, total int64) // may be nil; one call at a time
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.tell != nil && n != 0 {
		p.tell(p.done, p.total)
	}
}

// meter counts what is read from r, and takes it back when the request that
// reads it has failed.
type meter struct {
	r     io.Reader
	p     *progress
	alive func()

	mu    sync.Mutex // a request that failed may still be reading
	n     int64
	ended bool
}

// Read reads from r.
func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		m.alive()
		m.n += int64(n)
		m.p.add(int64(n))
	}
	return n, err
}

// end ends the counting.
func (m *meter) end(ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	if !ok {
		m.p.add(-m.n)
	}
}
