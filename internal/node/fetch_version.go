package node

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// fetchVersion is one version of what Follow follows, with its downloads.
type fetchVersion struct {
	followed
	known     bool // its hooks have run before
	downloads []*download
	cancel    context.CancelFunc
	done      chan struct{} // closed when nothing of it runs any more
	missing   atomic.Int64  // downloads that are not whole
	whole     atomic.Bool
	failure   error // why it could not be begun
}

// begin fetches a version. One that is being fetched gives way to it, and what is
// live when the first of its files is about to take its name.
func (l *fetchFollower) begin(ctx context.Context, what followed, known bool) {
	l.drop(l.coming)
	ctx, cancel := context.WithCancel(ctx)
	v := &fetchVersion{followed: what, known: known, cancel: cancel, done: make(chan struct{})}
	l.coming = v
	targets, err := l.from.targets(ctx, l.fetch, &what)
	if err == nil {
		targets, err = distinct(targets)
	}
	if err != nil {
		d := l.fetch.failed(&source{inputs: []string{l.url}, err: err})
		v.failure = d.after(ctx, err)
	}
	live := l.live
	for _, t := range targets {
		d := l.fetch.download(t)
		d.known = known
		d.switching = live.stop
		d.placed = func() {
			if v.missing.Add(-1) == 0 {
				v.whole.Store(true)
				l.tell(ctx, v)
			}
		}
		v.downloads = append(v.downloads, d)
		if live.has(t.key) {
			live.stop() // the engine has a torrent once
		}
	}
	v.missing.Store(int64(len(v.downloads)))
	go l.runVersion(ctx, v)
}

// runVersion runs the downloads of a version to their ends.
func (l *fetchFollower) runVersion(ctx context.Context, v *fetchVersion) {
	defer close(v.done)
	defer v.cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(1, l.fetch.o.Parallel))
	for _, d := range v.downloads {
		wg.Go(func() { d.run(ctx, slots) })
	}
	wg.Wait()
	if !v.whole.Load() {
		l.tell(ctx, v)
	}
}

// tell hands a version to the loop, unless the loop has dropped it.
func (l *fetchFollower) tell(ctx context.Context, v *fetchVersion) {
	select {
	case l.ended <- v:
	case <-ctx.Done():
	}
}

// drop ends a version that another takes the place of before it was whole, and
// removes what had come of it.
func (l *fetchFollower) drop(v *fetchVersion) {
	if v == nil {
		return
	}
	v.stop()
	for _, d := range v.downloads {
		if err := os.RemoveAll(d.staging()); err != nil {
			l.log.Warn("the folder of an unfinished version stays", zap.Error(err))
		}
	}
	l.log.Info("a newer version takes the place of one that was being fetched")
}

// stop ends a version's downloads, and waits for that. It may be called from
// several goroutines, and of none.
func (v *fetchVersion) stop() {
	if v == nil {
		return
	}
	v.cancel()
	<-v.done
}

func (v *fetchVersion) has(key string) bool {
	if v == nil {
		return false
	}
	for _, d := range v.downloads {
		if d.target.key == key {
			return true
		}
	}
	return false
}

// err is why the version has failed. It must have ended.
func (v *fetchVersion) err() error {
	err := v.failure
	for _, d := range v.downloads {
		err = errors.Join(err, d.err)
	}
	return err
}

func (v *fetchVersion) states() (out []FetchState) {
	for _, d := range v.downloads {
		out = append(out, d.state())
	}
	return out
}

// remembered is what a restart needs to begin with the version again. It must be
// whole.
func (v *fetchVersion) remembered() followed {
	out := v.followed
	for _, d := range v.downloads {
		p := d.target.proof
		if p == nil {
			continue
		}
		var err error
		out.Torrent, err = d.target.torrent.Encode()
		if err == nil && p.bundle != nil {
			out.Bundle, err = p.bundle.Encode()
		}
		if err != nil { // what was read before can be written
			d.log.Warn("the release cannot be begun with after a restart unless peers are there", zap.Error(err))
			out.Torrent, out.Bundle = nil, nil
		}
	}
	return out
}
