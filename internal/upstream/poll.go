package upstream

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

const polling = "upstream gives no events and is polled"

// poll looks at each known channel's latest.json again and again until ctx
// ends or it is time to try for events again.
func (w *watch) poll(ctx context.Context, until time.Time) {
	for {
		var failed error
		for _, ch := range w.order {
			// A channel without a release is not the upstream's failure.
			if err := w.look(ctx, ch); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = err
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case failed != nil:
			w.c.met(failed)
			w.say(zap.WarnLevel, "upstream cannot be polled; trying again", failed)
		default:
			w.c.met(nil)
			w.say(zap.InfoLevel, polling, nil)
		}
		// Nodes that were started together must not ask together for ever.
		pause := time.Duration(float64(w.c.opts.PollInterval) * (0.9 + 0.2*rand.Float64()))
		if !sleep(ctx, pause) || !time.Now().Before(until) {
			return
		}
	}
}

// look calls fn when the pointer is another one than when it was looked at
// last. known holds what tells pointers apart: the ETag, or for servers that
// give none the digest. An answer that cannot be a pointer is news too: fn's
// owner asks for itself and can say what is wrong with that channel.
func (w *watch) look(ctx context.Context, ch string) error {
	last := w.known[ch]
	etag := last
	if manifest.ValidID(last) {
		etag = ""
	}
	a, err := w.c.get(ctx, w.c.url("channels/"+ch+"/latest.json"), etag, manifest.MaxPointer)
	if err != nil {
		if mark, ok := badAnswer(err); ok && mark != w.bad[ch] {
			w.bad[ch] = mark
			w.fn(ch)
		}
		return err
	}
	delete(w.bad, ch)
	if a.notModified {
		return nil
	}
	mark := a.etag
	if mark == "" {
		mark = manifest.ID(a.body)
	}
	if mark != last {
		w.known[ch] = mark
		w.fn(ch)
	}
	return nil
}

// badAnswer returns the text of an error that an answer gave rise to, and not
// the lack of one.
func badAnswer(err error) (string, bool) {
	var status *StatusError
	if errors.As(err, &status) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRedirect) {
		return err.Error(), true
	}
	return "", false
}
