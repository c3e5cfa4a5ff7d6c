package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/layout"
	"distd/internal/limit"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/httpfetch"
	"distd/pkg/swarm"
	"distd/pkg/swarm/pieces"
	"distd/pkg/torrentfile"
	"distd/pkg/tracker"
)

// keeper keeps the node's releases: one job, with one goroutine, for each that
// is fetched or seeded.
type keeper struct {
	node   *Node
	wanted chan string // IDs of releases that shall have a job

	mu     sync.Mutex
	jobs   map[string]*job
	claims map[string]*claim // by infohash

	// activating serialises what changes the live names and runs hooks, by
	// channel.
	activating map[string]*sync.Mutex
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, wanted: make(chan string, 64), jobs: map[string]*job{}, claims: map[string]*claim{}, activating: map[string]*sync.Mutex{}}
}

// want starts a job for a staged or complete release that has none.
func (k *keeper) want(ctx context.Context, id string) {
	select {
	case k.wanted <- id:
	case <-ctx.Done(): // the next start finds the release in the store
	}
}

// run starts a job for every release that the store has a use for, then for
// those that become wanted, and returns when all jobs have ended.
func (k *keeper) run(ctx context.Context) error {
	if k.node.engine == nil { // a master without peers has no jobs
		<-ctx.Done()
		return ctx.Err()
	}
	var g errgroup.Group
	for _, rel := range k.node.store.Releases() {
		if rel.Complete || k.newest(rel.Manifest.Channel) == rel.ID {
			k.start(ctx, &g, rel.ID)
		}
	}
	for {
		select {
		case id := <-k.wanted:
			k.start(ctx, &g, id)
		case <-ctx.Done():
			_ = g.Wait() // jobs report their own errors
			return ctx.Err()
		}
	}
}

func (k *keeper) newest(channel string) string {
	_, _, p, err := k.node.store.Pointer(channel)
	if err != nil {
		return ""
	}
	return p.Manifest
}

func (k *keeper) start(ctx context.Context, g *errgroup.Group, id string) {
	rel, err := k.node.store.Release(id)
	if err != nil {
		k.node.log.Error("release vanished", zap.String("release", id), zap.Error(err))
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.jobs[id]; ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	j := &job{node: k.node, id: id, m: rel.Manifest, cancel: cancel, started: time.Now(),
		log: k.node.log.Named("release").With(zap.String("channel", rel.Manifest.Channel), zap.Uint64("serial", rel.Manifest.Serial), zap.String("name", rel.Manifest.Name))}
	j.setState(stateStarting)
	j.complete.Store(rel.Complete)
	k.supersede(rel)
	k.jobs[id] = j
	g.Go(func() error {
		defer func() {
			cancel()
			k.mu.Lock()
			delete(k.jobs, id)
			k.mu.Unlock()
		}()
		j.keepTrying(ctx)
		return nil
	})
}

// supersede ends the transfers of older releases of the same channel: nobody
// will activate them any more. The caller holds k.mu.
func (k *keeper) supersede(rel *store.Release) {
	for _, j := range k.jobs {
		if j.m.Channel == rel.Manifest.Channel && j.m.Serial < rel.Manifest.Serial && !j.complete.Load() {
			j.log.Info("superseded by a newer release", zap.Uint64("newer", rel.Manifest.Serial))
			j.gone.Store(true)
			j.cancel()
		}
	}
}

// list returns the jobs as they are now.
func (k *keeper) list() []*job {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*job, 0, len(k.jobs))
	for _, j := range k.jobs {
		out = append(out, j)
	}
	return out
}

// lock serialises activations and hooks of one channel.
func (k *keeper) lock(channel string) *sync.Mutex {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.activating[channel]
	if !ok {
		m = &sync.Mutex{}
		k.activating[channel] = m
	}
	return m
}

// States of a job, as the status shows them.
const (
	stateStarting   = "starting"
	stateChecking   = "checking"
	stateFetching   = "fetching"
	stateActivating = "activating"
	stateSeeding    = "seeding"
	stateCopying    = "copying"                      // from a release with the same content
	stateShared     = "waiting for the same content" // which another job fetches
	stateNotLive    = "seeding, not live yet"
	stateWaiting    = "waiting to try again"
)

// job fetches one release, activates it and seeds it until it is dropped.
type job struct {
	node    *Node
	id      string
	m       *manifest.Manifest
	log     *zap.Logger
	cancel  context.CancelFunc
	started time.Time

	complete atomic.Bool
	gone     atomic.Bool  // superseded or removed: it will not come back
	state    atomic.Value // string
	problem  atomic.Value // string: the last error

	mu        sync.Mutex
	torrent   *swarm.Torrent
	fetcher   *httpfetch.Fetcher
	announces []*tracker.Announcer
	fetched   time.Duration // from start to the last piece
}

func (j *job) setState(s string) { j.state.Store(s) }

// keepTrying runs the job until its context ends, again after each error.
func (j *job) keepTrying(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var said repeated
	for {
		err := j.run(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := retry.NextBackOff()
		j.setState(stateWaiting)
		j.problem.Store(err.Error())
		j.log.Log(said.level(err), "release is not done; what is live stays", zap.Error(err), zap.Duration("again_in", wait))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// run takes the release through all its steps and seeds it until ctx ends.
func (j *job) run(ctx context.Context) (err error) {
	n := j.node
	rel, err := n.store.Release(j.id)
	if err != nil {
		return err
	}
	t, err := j.readTorrent(rel)
	if err != nil {
		return err
	}
	lay, err := j.m.Layout()
	if err != nil {
		return err
	}
	ps, err := j.openPieces(ctx, rel, lay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ps.Close()) }()
	if rel, err = j.turn(ctx, rel, lay, ps); err != nil {
		return err
	}
	defer n.releases.unclaim(j.m.InfoHash)
	rates := n.limits.channel(j.m.Channel)
	tor, err := n.engine.Add(swarm.Spec{
		InfoHash:  t.InfoHash,
		Name:      j.m.Name,
		Layout:    lay,
		InfoBytes: t.InfoBytes,
		Verify:    verifier(j.m),
		Store:     ps,
		Directing: n.role != config.RoleLeaf,
		Priority:  j.m.Serial,
		Up:        &rates.up,
		Down:      &rates.down,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tor.Close()) }()
	return j.transfer(ctx, rel, t, tor, ps)
}

// transfer runs what moves bytes for the torrent until ctx ends, and the steps
// after the last piece once it is there.
func (j *job) transfer(ctx context.Context, rel *store.Release, t *torrentfile.Torrent, tor *swarm.Torrent, ps *pieces.Store) error {
	n := j.node
	g, ctx := errgroup.WithContext(ctx)
	j.mu.Lock()
	j.torrent, j.announces = tor, nil
	j.mu.Unlock()
	n.admit(t.InfoHash, j.m.Name, tor)
	defer func() {
		// The tracker keeps the peers of the others over a restart.
		if j.gone.Load() && !n.releases.shared(j.m.InfoHash, j) {
			n.dismiss(t.InfoHash)
		}
	}()
	n.tell(j.m.Channel)
	for _, a := range j.announcers(t.InfoHash, tor) {
		g.Go(func() error { return ignoreCancel(a.Run(ctx)) })
	}
	if !rel.Complete && n.role == config.RoleSeed {
		f, err := j.newFetcher(tor)
		if err != nil {
			return err
		}
		j.mu.Lock()
		j.fetcher = f
		j.mu.Unlock()
		g.Go(func() error { return ignoreCancel(f.Run(ctx)) })
	}
	g.Go(func() error {
		if err := j.finish(ctx, rel, t, tor, ps); err != nil {
			return err
		}
		j.setState(stateSeeding)
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// finish waits for the last piece, then commits, activates and runs the hook.
func (j *job) finish(ctx context.Context, rel *store.Release, t *torrentfile.Torrent, tor *swarm.Torrent, ps *pieces.Store) error {
	n := j.node
	if !rel.Complete {
		j.setState(stateFetching)
		select {
		case <-tor.Done():
		case <-ctx.Done():
			return nil
		}
		j.mu.Lock()
		announces := j.announces
		j.mu.Unlock()
		for _, a := range announces {
			a.Completed()
		}
		s := tor.Stats()
		if _, err := j.commit(ctx, ps, zap.Int64("from_peers", s.Downloaded[swarm.SourcePeers]), zap.Int64("from_mirrors", s.Downloaded[swarm.SourceMirrors])); err != nil {
			return err
		}
	}
	n.admit(t.InfoHash, j.m.Name, tor)
	n.releases.completed(j.m.InfoHash)
	return j.land(ctx)
}

// commit makes a complete release of a staged one that has every piece.
func (j *job) commit(ctx context.Context, ps *pieces.Store, from ...zap.Field) (*store.Release, error) {
	took := time.Since(j.started)
	j.mu.Lock()
	j.fetched = took
	j.mu.Unlock()
	if err := ps.Sync(ctx); err != nil {
		return nil, err
	}
	rel, err := j.node.store.Commit(ctx, j.id)
	if err != nil {
		return nil, err
	}
	ps.SetDir(rel.ContentRoot())
	j.log.Info("release is complete and verified", append(from, zap.Duration("took", took.Round(time.Millisecond)))...)
	return rel, nil
}

// land activates the complete release and runs its hook. It is tried again
// until it works, while the release is seeded: that one node cannot make it
// live is no reason to keep it from the others.
func (j *job) land(ctx context.Context) error {
	j.complete.Store(true)
	if j.node.role == config.RoleMaster {
		return nil
	}
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var said repeated
	for {
		j.problem.Store("")
		err := j.activate(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		wait := retry.NextBackOff()
		j.setState(stateNotLive)
		j.problem.Store(err.Error())
		j.log.Log(said.level(err), "release is not live; what is live stays", zap.Error(err), zap.Duration("again_in", wait))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (j *job) readTorrent(rel *store.Release) (*torrentfile.Torrent, error) {
	b, err := rel.ReadMeta(j.m.Name + ".torrent")
	if err != nil {
		return nil, err
	}
	return torrentfile.Parse(b)
}

// openPieces opens the release's content: as it is when the release is
// complete, else with what an earlier run has fetched.
func (j *job) openPieces(ctx context.Context, rel *store.Release, lay *layout.Layout) (*pieces.Store, error) {
	cfg := pieces.Config{
		Dir:      rel.ContentRoot(),
		Layout:   lay,
		Identity: identity(j.id),
		Verify:   verifier(j.m),
		Log:      j.log,
	}
	if rel.Complete {
		cfg.ReadOnly, cfg.Complete = true, true
		return pieces.Open(cfg)
	}
	j.setState(stateChecking)
	cfg.ProgressFile = filepath.Join(rel.Dir, "progress")
	ps, err := pieces.Open(cfg)
	if err != nil {
		return nil, err
	}
	if err := ps.Recover(ctx, nil); err != nil {
		return nil, errors.Join(err, ps.Close())
	}
	return ps, nil
}

// verifier decides by the signed manifest whether a piece's bytes are good.
func verifier(m *manifest.Manifest) func(int, []byte) bool {
	return func(i int, data []byte) bool { return sha256.Sum256(data) == m.PieceHash(i) }
}

// newFetcher makes the download over the long link: from the upstream itself
// and from the mirrors that the manifest names, in tiers.
func (j *job) newFetcher(tor *swarm.Torrent) (*httpfetch.Fetcher, error) {
	n := j.node
	cfg := n.cfg.Load()
	up := n.ups[0].client // a seed follows one upstream
	mirrors := []httpfetch.Mirror{{
		URL:     up.ContentURL(j.id, ""),
		FileURL: func(path string) string { return up.ContentURL(j.id, path) },
		Tier:    0, Location: "upstream",
	}}
	for _, m := range j.m.Mirrors {
		mirrors = append(mirrors, httpfetch.Mirror{
			URL:     m.URL,
			FileURL: func(path string) string { return m.FileURL(j.m.Kind, strings.TrimPrefix(path, j.m.Name+"/")) },
			// A preference of 100 is the upstream's own tier.
			Tier: 100 - m.Preference, Location: m.Location,
		})
	}
	return httpfetch.New(httpfetch.Config{
		Sink:            tor,
		Mirrors:         mirrors,
		Client:          n.mirrors,
		MaxConnsPerHost: cfg.MirrorConns,
		TierPatience:    cfg.Patience,
		Limiter:         limit.All{&n.limits.channel(j.m.Channel).down, &n.limits.node.down},
		Log:             j.log.Named("mirrors"),
	})
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// identity is what a record of finished pieces is bound to: it counts for no
// other content.
func identity(of string) [32]byte { return sha256.Sum256([]byte(of)) }
