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
	"distd/internal/store"
	"distd/internal/upstream"
	"distd/pkg/torrentfile"
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
	rel, err := f.stage(ctx, key, p)
	if err != nil {
		return err
	}
	if pin {
		if err := n.store.PinKey(channel, key.String()); err != nil {
			return err
		}
		f.log.Warn("pinned the first key seen; another one will be refused (set -key to be sure from the start)", zap.String("channel", channel), zap.String("public_key", key.String()))
	}
	n.expect(rel.Manifest)
	if err := n.store.SetPointer(channel, data, sig, p); err != nil {
		return err
	}
	if err := n.store.RaiseSerial(channel, p.Serial); err != nil {
		return err
	}
	f.log.Info("new release", zap.String("channel", channel), zap.Uint64("serial", p.Serial), zap.String("name", p.Name), zap.String("release", rel.ID), zap.Int64("bytes", rel.Manifest.Size))
	n.releases.want(ctx, rel.ID)
	return nil
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

// fresh says whether the pointer leads further than what is known, and refuses
// one that leads back.
func (n *Node) fresh(p *manifest.Pointer) (bool, error) {
	highest := n.store.HighestSerial(p.Channel)
	if p.Serial < highest {
		return false, fmt.Errorf("channel %s: serial %d is older than %d, which was seen already", p.Channel, p.Serial, highest)
	}
	if !p.Expires.IsZero() && time.Now().After(p.Expires) {
		n.counters.expired.Add(1)
		return false, fmt.Errorf("channel %s: release with serial %d expired on %s; publish again or set the clock", p.Channel, p.Serial, p.Expires.Format(time.RFC3339))
	}
	_, _, cur, err := n.store.Pointer(p.Channel)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if cur.Serial == p.Serial && cur.Manifest != p.Manifest {
		return false, fmt.Errorf("channel %s: two releases with serial %d: %s is known, %s is offered", p.Channel, p.Serial, cur.Manifest, p.Manifest)
	}
	return cur.Serial < p.Serial, nil
}

// Sizes of foreign documents, in bytes, at most.
const maxTorrent = 64 << 20

// stage gets the release's manifest and torrent, verifies that all agree, and
// makes the staging folder. What is not signed is not taken over: metalinks,
// sums and the torrent's trackers are written anew from what is.
func (f *follower) stage(ctx context.Context, key manifest.PublicKey, p *manifest.Pointer) (*store.Release, error) {
	// Over a long link each question costs a round trip: both are asked at once.
	var data, sig, torrent []byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if data, sig, err = f.client.Manifest(gctx, p.Manifest); err != nil {
			err = fmt.Errorf("manifest %s: %w", p.Manifest, err)
		}
		return err
	})
	g.Go(func() (err error) {
		if torrent, err = f.client.Meta(gctx, p.Manifest, p.Name+".torrent", maxTorrent); err != nil {
			err = fmt.Errorf("torrent of release %s: %w", p.Manifest, err)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	m, id, err := manifest.Open(key, data, sig)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", p.Manifest, explainKey(err))
	}
	if err := p.Matches(m, id); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", p.Manifest, err)
	}
	t, err := torrentfile.Parse(torrent)
	if err != nil {
		return nil, fmt.Errorf("torrent of release %s: %w", id, err)
	}
	if err := agree(m, t); err != nil {
		return nil, fmt.Errorf("torrent of release %s: %w", id, err)
	}
	meta, err := renderMeta(m, t, data, sig)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", id, err)
	}
	return f.node.store.Stage(m, id, meta)
}

// agree checks that a torrent is the one that the manifest names and cuts the
// same bytes the same way.
func agree(m *manifest.Manifest, t *torrentfile.Torrent) error {
	if got := fmt.Sprintf("%x", t.InfoHash); got != m.InfoHash {
		return fmt.Errorf("its infohash is %s, the manifest says %s", got, m.InfoHash)
	}
	want, err := m.Layout()
	if err != nil {
		return err
	}
	if t.Name != m.Name || t.Layout.PieceLength != want.PieceLength || len(t.Layout.Files) != len(want.Files) {
		return errors.New("its name, piece length or files differ from the manifest's")
	}
	for i, f := range want.Files {
		if t.Layout.Files[i] != f {
			return fmt.Errorf("its file %d is %q with %d bytes, the manifest says %q with %d", i, t.Layout.Files[i].Path, t.Layout.Files[i].Length, f.Path, f.Length)
		}
	}
	return nil
}
