package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/upstream"
	"distd/pkg/tracker"
)

// follower follows the channels of one upstream: it hears of news, verifies
// what they point at and hands new releases to the keeper. One goroutine
// watches, one announces, and one for each channel looks at its news as long as
// there are some.
type follower struct {
	node   *Node
	client *upstream.Client
	log    *zap.Logger
	// announces tells the upstream, a seed that is a tracker, what this node has.
	announces *tracker.Group

	answered atomic.Bool
	spare    atomic.Bool // not followed now, as a seed is there
	dropped  atomic.Bool // not among the upstreams any more

	mu      sync.Mutex
	news    map[string]chan struct{} // by channel that is looked at; capacity 1
	lastErr map[string]string        // by channel, for the status
}

func newFollower(n *Node, c *upstream.Client) *follower {
	return &follower{node: n, client: c, log: n.log.Named("follow").With(zap.String("upstream", c.Base())),
		announces: tracker.NewGroup(), news: map[string]chan struct{}{}, lastErr: map[string]string{}}
}

// reached says whether the upstream's last word was understood. One that has
// no release yet has answered too.
func (f *follower) reached() bool {
	if c, ok := f.client.Contact(); ok && c.Err == nil && len(f.errors()) == 0 {
		return true
	}
	return f.answered.Load()
}

func (f *follower) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.announces.Run(ctx) })
	watch := f.client.Watch
	if f.node.role == config.RoleLeaf && f == f.node.master {
		watch = f.watchWithoutSeeds
	}
	g.Go(func() error {
		return watch(ctx, f.node.cfg.Load().Channel, func(channel string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			ch, ok := f.news[channel]
			if !ok {
				ch = make(chan struct{}, 1)
				f.news[channel] = ch
				g.Go(func() error { return f.follow(ctx, channel, ch) })
			}
			select {
			case ch <- struct{}{}:
			default:
			}
		})
	})
	return g.Wait()
}

// follow looks at the channel as long as there may be news, and again and again
// while looking fails for a reason that may pass.
func (f *follower) follow(ctx context.Context, channel string, news <-chan struct{}) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var again <-chan time.Time
	var said repeated
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-again:
		}
		err := f.look(ctx, channel)
		again = nil
		if errors.Is(err, errNoRelease) {
			f.log.Info("the upstream has no release of the channel yet", zap.String("channel", channel))
			err = nil
		}
		if err == nil {
			retry.Reset()
			said = repeated{}
		} else if ctx.Err() == nil {
			wait := retry.NextBackOff()
			again = time.After(wait)
			f.log.Log(said.level(err), "release refused or not to be had; nothing that is live changes", zap.String("channel", channel), zap.Error(err), zap.Duration("again_in", wait))
			f.node.counters.refused.Add(1)
		}
		f.note(channel, err)
		if err == nil && f.upToDate(channel) {
			return nil
		}
	}
}

// upToDate says whether all news of the channel have been looked at. The next
// are then for another goroutine.
func (f *follower) upToDate(channel string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.news[channel]) > 0 {
		return false
	}
	delete(f.news, channel)
	return true
}

func (f *follower) note(channel string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lastErr, channel)
	if err != nil {
		f.lastErr[channel] = err.Error()
	}
}

// errors of the channel by name, for the status.
func (f *follower) errors() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]string, len(f.lastErr))
	for k, v := range f.lastErr {
		out[k] = v
	}
	return out
}

// warmConns is how many connections to the upstream are made ahead of a fetch.
const warmConns = 15

// errNoRelease says that the upstream does not have the channel (yet).
var errNoRelease = errors.New("no release yet")

// look gets the channel's pointer and, when it is new, everything that it
// points at. Nothing is stored before its signature has been verified.
func (f *follower) look(ctx context.Context, channel string) error {
	n := f.node
	data, sig, err := f.client.Pointer(ctx, channel)
	f.answered.Store(err == nil || errors.Is(err, fs.ErrNotExist))
	if errors.Is(err, fs.ErrNotExist) {
		return errNoRelease
	}
	if err != nil {
		return fmt.Errorf("pointer of channel %s: %w", channel, err)
	}
	key, pin, err := f.key(ctx, channel)
	if err != nil {
		return err
	}
	p, err := manifest.OpenPointer(key, data, sig)
	if errors.Is(err, manifest.ErrSignature) || errors.Is(err, manifest.ErrMalformed) {
		// It may have been torn on its way, or kept by a cache: once more, anew.
		f.client.Forget(channel)
		if data, sig, err = f.client.Pointer(ctx, channel); err == nil {
			p, err = manifest.OpenPointer(key, data, sig)
		}
	}
	if err != nil {
		return fmt.Errorf("pointer of channel %s: %w", channel, explainKey(err))
	}
	if p.Channel != channel {
		return fmt.Errorf("pointer of channel %s is signed for channel %s", channel, p.Channel)
	}
	if fresh, err := n.fresh(p); err != nil || !fresh {
		return err
	}
	if n.role == config.RoleSeed && n.cfg.Load().Locations().Allows(config.Upstream) {
		// The mirrors' connections are made while the documents travel.
		n.mirrors.Warm(f.client.Base(), warmConns)
	}
	defer n.coming.begin(channel, p.Serial)()
	got, err := f.papers(ctx, key, p)
	if err != nil {
		return err
	}
	got.pointer, got.pointerSig = data, sig
	return n.takeUp(ctx, f.log, key, pin, p, got)
}

// key returns the key that the channel's releases must be signed with, and
// whether it is to be pinned because none was known.
func (f *follower) key(ctx context.Context, channel string) (key manifest.PublicKey, pin bool, err error) {
	if file := f.node.cfg.Load().Key; file != "" {
		key, err = manifest.LoadPublicKey(file)
		return key, false, err
	}
	if text, ok := f.node.store.PinnedKey(channel); ok {
		key, err = manifest.ParsePublicKey(text)
		return key, false, err
	}
	b, err := f.client.PublicKey(ctx)
	if err != nil {
		return key, false, fmt.Errorf("publisher's key: %w", err)
	}
	key, err = manifest.ParsePublicKey(string(b))
	return key, true, err
}

// explainKey says what to do about a release that another key signed.
func explainKey(err error) error {
	if errors.Is(err, manifest.ErrKey) {
		return fmt.Errorf("%w: if the publisher's key was changed on purpose, set -key to the new one", err)
	}
	return err
}
