package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/pkg/httpfetch"
	"distd/pkg/swarm"
	"distd/pkg/tracker"
)

// download takes one target from nothing to a seeded file.
type download struct {
	fetch  *fetch
	target *target
	log    *zap.Logger
	err    error
	// Of Follow: what to do before the content takes its final name, and when it
	// is there and its hook has run. known is content whose hook has run before.
	switching, placed func()
	known             bool

	mu      sync.Mutex
	text    string
	path    string
	took    time.Duration
	torrent *swarm.Torrent
	fetcher *httpfetch.Fetcher // of its mirrors, if it has some
}

func (d *download) note(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = state
}

func (d *download) state() FetchState {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := FetchState{Name: d.target.name, State: d.text, Size: d.target.bytes(), Path: d.path, Seconds: d.took.Seconds()}
	if d.err != nil {
		s.Error = d.err.Error()
	}
	if p := d.target.proof; p != nil {
		s.Serial, s.Release = p.item.Serial, p.id
	}
	if d.torrent != nil {
		t := d.torrent.Stats()
		s.Done, s.FromPeers, s.FromMirrors, s.Uploaded, s.Peers = s.Size-t.BytesLeft, t.Downloaded[swarm.SourcePeers], t.Downloaded[swarm.SourceMirrors], t.Uploaded, len(t.Peers)
	}
	if d.fetcher != nil {
		s.Mirrors = mirrorsOfStats(d.fetcher.Stats())
	}
	return s
}

// run runs the download when there is a slot for it, and then the hook for its
// end. A slot is free again once the content is there: seeding takes none.
func (d *download) run(ctx context.Context, slots chan struct{}) {
	if d.err != nil {
		_ = d.after(ctx, d.err) // it was over before it began
		return
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		d.end(ctx.Err())
		return
	}
	release := sync.OnceFunc(func() { <-slots })
	defer release()
	var err error
	if !d.known {
		err = d.hook(ctx, d.fetch.o.Hooks.Start)
	}
	if err == nil {
		err = d.resolve(ctx)
	}
	if err == nil {
		err = d.choose()
	}
	if err == nil {
		err = d.transfer(ctx, release)
	}
	d.end(d.after(ctx, err))
}

func (d *download) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = "done"
	if err != nil {
		d.text = "failed"
		d.err = fmt.Errorf("%s: %w", d.target.name, err)
	}
}

// transfer moves the bytes, then places the file, runs the hook and seeds.
func (d *download) transfer(ctx context.Context, release func()) (err error) {
	start := time.Now()
	d.note("checking")
	st, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	t := d.target
	spec := swarm.Spec{InfoHash: t.infoHash(), Name: t.name, Layout: t.layout, Verify: t.accept(), Store: st, Want: t.wanted(), Directing: st.complete && t.selected == nil, MirrorLimit: &d.fetch.limits.wan}
	if t.torrent != nil {
		spec.InfoBytes, spec.Private = t.torrent.InfoBytes, t.torrent.Private
	}
	t.proof.show(&spec)
	tor, err := d.fetch.engine.Add(spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tor.Close()) }()
	d.mu.Lock()
	d.torrent = tor
	d.mu.Unlock()

	// What moves bytes runs beside this until the download has ended.
	workCtx, stop := context.WithCancel(ctx)
	var work errgroup.Group
	defer func() { stop(); _ = work.Wait() }()
	failed := d.work(workCtx, &work, tor)
	d.note("fetching")
	select {
	case <-tor.Done():
	case err := <-failed:
		return err
	case <-d.stalled(workCtx, &work, tor.Left):
		return &codedError{ExUnavailable, fmt.Errorf("nothing has come for %v", d.fetch.o.StopTimeout)}
	case <-ctx.Done():
		return &codedError{ExTempFail, errors.New("interrupted; run the same command again to go on")}
	}
	if err := d.finish(ctx, st); err != nil {
		return err
	}
	d.mu.Lock()
	d.took = time.Since(start)
	d.mu.Unlock()
	release()
	if !d.known || !st.complete {
		d.note("running the hook")
		if err := d.hook(ctx, d.fetch.o.Hooks.whole(t)); err != nil {
			return err
		}
	}
	if d.placed != nil {
		d.placed()
	}
	d.seed(ctx, tor)
	return nil
}

// work starts the announces and the mirrors. The channel gets the mirrors'
// error when there is nobody else to get the content from, or when it is not of a
// mirror: a full disk is not the less full for peers.
func (d *download) work(ctx context.Context, g *errgroup.Group, tor *swarm.Torrent) <-chan error {
	failed := make(chan error, 1)
	tor.AddPeers(swarm.SourceConfigured, d.target.peers)
	if t := d.target.torrent; t != nil {
		d.findPeers(ctx, g, t.InfoHash, t.Private, tor.AddPeers)
	}
	for _, a := range d.announcers(tor) {
		g.Go(func() error { return ignoreCancel(a.Run(ctx)) })
		if tor.Left() == 0 || d.target.unwanted() > 0 {
			continue // it was complete from the start, or never will be
		}
		g.Go(func() error {
			select {
			case <-tor.Done():
				a.Completed()
			case <-ctx.Done():
			}
			return nil
		})
	}
	if len(d.target.mirrors) == 0 {
		return failed
	}
	g.Go(func() error {
		err := d.mirrors(ctx, tor)
		if err != nil && ctx.Err() == nil {
			var mirrors *httpfetch.GiveUpError
			if d.target.torrent == nil || !errors.As(err, &mirrors) {
				failed <- err
			} else {
				d.log.Warn("no mirror is left; going on with peers alone", zap.Error(err))
			}
		}
		return nil
	})
	return failed
}

func (d *download) mirrors(ctx context.Context, tor *swarm.Torrent) error {
	each, all := d.fetch.o.conns(d.target.bytes())
	f, err := httpfetch.New(httpfetch.Config{
		Sink: tor, Mirrors: d.target.mirrors, Client: d.fetch.web.mirrors, MaxConnsPerHost: each, MaxConns: all,
		GiveUp: true, Limiter: d.fetch.limits.fromMirrors(""), Log: d.log.Named("mirrors"),
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.fetcher = f
	d.mu.Unlock()
	return f.Run(ctx)
}

// announcers announce to the torrent's trackers, all tiers together (BEP 12).
func (d *download) announcers(tor *swarm.Torrent) []*tracker.Announcer {
	t := d.target
	if t.torrent == nil || len(t.trackers) == 0 || d.fetch.port == 0 {
		return nil
	}
	return []*tracker.Announcer{tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers: t.trackers, InfoHash: t.infoHash(), PeerID: d.fetch.peerID, Port: d.fetch.port,
		Stats: func() tracker.Stats {
			s := announceStats(tor)
			s.Left += t.unwanted()
			return s
		},
		Peers:      func(addrs []netip.AddrPort) { tor.AddPeers("tracker", addrs) },
		Local:      d.fetch.local,
		HTTPClient: d.fetch.announcing, Log: d.log.Named("announce"),
	})}
}

// seed waits until the seeding limits are reached.
func (d *download) seed(ctx context.Context, tor *swarm.Torrent) {
	o := d.fetch.o
	if d.target.torrent == nil || d.fetch.port == 0 || o.SeedTime == 0 {
		return
	}
	d.note("seeding")
	var timeout <-chan time.Time
	if o.SeedTime > 0 {
		timeout = time.After(o.SeedTime)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if o.SeedRatio > 0 && float64(tor.Stats().Uploaded) >= o.SeedRatio*float64(d.target.bytes()) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timeout:
			return
		case <-tick.C:
		}
	}
}

// accept is the check of pieces as they come; without piece hashes, what the
// mirror sent is taken, and the whole file is checked at the end.
func (t *target) accept() func(int, []byte) bool {
	if t.verify != nil {
		return t.verify
	}
	return func(int, []byte) bool { return true }
}

// staging is where the unfinished download lies.
func (d *download) staging() string {
	return filepath.Join(d.fetch.o.Dir, stagingFolder, d.target.key)
}

// stagingFolder is the folder of all unfinished downloads.
const stagingFolder = ".distd-fetch"

func (d *download) finalPath() string { return filepath.Join(d.fetch.o.Dir, d.target.name) }

// stalled is signalled when the count, of what is left, has not gone down for
// StopTimeout. Without one it never is.
func (d *download) stalled(ctx context.Context, g *errgroup.Group, left func() int64) <-chan struct{} {
	limit := d.fetch.o.StopTimeout
	if limit <= 0 {
		return nil
	}
	out := make(chan struct{})
	g.Go(func() error {
		tick := time.NewTicker(min(limit, time.Second))
		defer tick.Stop()
		last, since := left(), time.Now()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if now := left(); now != last {
				last, since = now, time.Now()
			} else if time.Since(since) >= limit {
				close(out)
				return nil
			}
		}
	})
	return out
}
