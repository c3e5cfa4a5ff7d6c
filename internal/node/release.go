package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/internal/upstream"
	"distd/pkg/httpfetch"
	"distd/pkg/swarm"
	"distd/pkg/swarm/pieces"
	"distd/pkg/torrentfile"
)

// progressFile is where a staged release's record of finished pieces is.
const progressFile = "progress"

// States of a job, as the status shows them.
const (
	stateStarting   = "starting"
	stateDelta      = "fetching a delta"
	stateBuilding   = "building" // files from a delta and an earlier release
	stateChecking   = "checking"
	stateFetching   = "fetching"
	stateActivating = "activating"
	stateSeeding    = "seeding"
	stateRepairing  = "repairing"
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
	started time.Time
	ctx     context.Context // ends with the job
	cancel  context.CancelFunc
	resting *holding // set while the job has no goroutine; guarded by the keeper's mu
	landed  bool     // it was live, or need not be; belongs to the goroutine
	kept    bool     // the release was complete when the node started
	ended   chan struct{}

	reused   atomic.Int64 // bytes of files that were on this disk
	complete atomic.Bool
	gone     atomic.Bool  // superseded or removed: it will not come back
	state    atomic.Value // string
	problem  atomic.Value // string: the last error

	packsKnown atomic.Bool // packs has all that will be there

	adopted []int // files that were put in place whole; belongs to the goroutine

	mu         sync.Mutex
	torrent    *swarm.Torrent
	pieces     *pieces.Store // the torrent's
	packs      []*pack       // in the swarm
	fetcher    *httpfetch.Fetcher
	mirrors    []Mirror // what became of them, once the fetcher has ended
	announces  []zoneAnnouncer
	announcing bool          // the torrent is in the swarm
	fetched    time.Duration // from start to the last piece
}

func (j *job) setState(s string) { j.state.Store(s) }

// keepTrying runs the job, again after each error, until it is at rest, or until
// it has ended: then it reports false.
func (j *job) keepTrying() (rests bool) {
	ctx := j.ctx
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var said repeated
	for {
		h, err := j.run(ctx)
		if err == nil {
			if j.node.releases.rest(j, h) {
				return true
			}
			err = j.letGo(h)
		}
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			continue // the torrent of another job is free
		}
		wait := retry.NextBackOff()
		j.setState(stateWaiting)
		j.problem.Store(err.Error())
		j.log.Log(said.level(err), "release is not done; what is live stays", zap.Error(err), zap.Duration("again_in", wait))
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// run takes the release through all its steps and returns what the job holds
// while the release is seeded: nothing where another job has the torrent.
func (j *job) run(ctx context.Context) (_ *holding, err error) {
	n := j.node
	rel, err := n.store.Release(j.id)
	if err != nil {
		return nil, err
	}
	t, err := j.readTorrent(rel)
	if err != nil {
		return nil, err
	}
	lay, err := j.m.Layout()
	if err != nil {
		return nil, err
	}
	h := &holding{}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, j.letGo(h))
		}
	}()
	if err := j.awaitRoom(ctx, rel); err != nil {
		return nil, err
	}
	if h.pieces, err = j.openPieces(ctx, rel, lay); err != nil {
		return nil, err
	}
	var content swarm.PieceStore = h.pieces
	w := n.releases.mending(j.id)
	if w != nil {
		content = &mendStore{h.pieces, w.patches}
		h.claimed, err = j.mendTurn(ctx, lay, w)
	} else {
		rel, h.claimed, err = j.prepare(ctx, rel, lay, h.pieces)
	}
	if err != nil {
		return nil, err
	}
	if !h.claimed {
		return &holding{}, nil
	}
	rates := n.limits.channel(j.m.Channel)
	ih := t.InfoHash // what stays must not hold all of the torrent
	h.torrent, err = n.engine.Add(swarm.Spec{
		InfoHash:  t.InfoHash,
		Name:      j.m.Name,
		Layout:    lay,
		InfoBytes: t.InfoBytes,
		Documents: func() ([]byte, error) { return n.documents(ih) },
		Release:   j.id,
		Verify:    verifier(j.m),
		Store:     content,
		Directing: n.role != config.RoleLeaf,
		OneCopy:   true,
		Fetchers:  n.otherSeeds,
		Priority:  newness(j.m),
		Up:        &rates.up,
		Down:      &rates.down,

		MirrorLimit: &n.limits.wan,
	})
	if err != nil {
		return nil, err
	}
	if err := j.offerPacks(ctx, rel); err != nil {
		return nil, err
	}
	if err := j.transfer(ctx, rel, t, h, w); err != nil {
		return nil, err
	}
	h.pieces.CloseIdle()
	for _, p := range j.listPacks() {
		p.pieces.CloseIdle()
	}
	done = true
	return h, nil
}

// prepare takes what can be had for less than the whole release: files that are
// on this disk, a delta pack, or all of a release with the same content; and then
// its turn with the torrent.
func (j *job) prepare(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) (_ *store.Release, claimed bool, err error) {
	if err := j.reuse(ctx, rel, lay, ps); err != nil {
		return nil, false, err
	}
	if err := j.patch(ctx, rel, lay, ps); err != nil {
		return nil, false, err
	}
	return j.turn(ctx, rel, lay, ps)
}

// newness orders the releases of all channels by when they were made: serials
// of different channels have nothing to do with each other.
func newness(m *manifest.Manifest) uint64 { return uint64(max(0, m.Created.Unix())) }

// transfer runs what moves bytes for the torrent until the last piece is there,
// and takes the steps after that.
func (j *job) transfer(ctx context.Context, rel *store.Release, t *torrentfile.Torrent, h *holding, w *mending) error {
	n, tor := j.node, h.torrent
	n.admit(t.InfoHash, j.m.Name, tor)
	n.tell(j.m.Channel)
	j.mu.Lock()
	j.torrent, j.pieces, j.announcing = tor, h.pieces, true
	j.mu.Unlock()
	for _, f := range n.upstreams() {
		j.announceTo(f)
	}
	if n.finder != nil {
		h.unwatch = n.finder.watch(t.InfoHash, j.m.Channel, n.peerPort, tor.AddPeers)
		n.finder.offer(rel)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	if !rel.Complete || w != nil {
		g.Go(func() error { return ignoreCancel(j.fetch(ctx, tor)) })
		g.Go(func() error { return ignoreCancel(j.watchRoom(ctx, tor)) })
	}
	g.Go(func() error {
		defer stop()
		if w != nil {
			if err := j.refetched(ctx, w, tor); err != nil {
				return err
			}
		}
		if err := j.finish(ctx, rel, t, h); err != nil {
			return err
		}
		j.setState(stateSeeding)
		return nil
	})
	return g.Wait()
}

// finish waits for the last piece, then commits, activates and runs the hook.
func (j *job) finish(ctx context.Context, rel *store.Release, t *torrentfile.Torrent, h *holding) error {
	n, tor := j.node, h.torrent
	if !rel.Complete {
		j.setState(stateFetching)
		select {
		case <-tor.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, a := range j.announced() {
			a.Completed()
		}
		s := tor.Stats()
		if _, err := j.commit(ctx, h.pieces, zap.Int64("from_peers", s.Downloaded[swarm.SourcePeers]), zap.Int64("from_mirrors", s.Downloaded[swarm.SourceMirrors])); err != nil {
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
	// A peer that comes while the folder is renamed finds the files through the
	// folder that is open.
	unpin, err := ps.Pin()
	if err != nil {
		return nil, err
	}
	defer unpin()
	moved, unpinPacks, err := j.movePacks()
	if err != nil {
		return nil, err
	}
	defer unpinPacks()
	rel, err := j.node.store.Commit(ctx, j.id)
	if err != nil {
		return nil, err
	}
	ps.SetDir(rel.ContentRoot())
	moved(rel)
	j.adopted = nil
	j.log.Info("release is complete and verified", append(from, zap.Duration("took", took.Round(time.Millisecond)))...)
	return rel, nil
}

// land activates the complete release and runs its hook. It is tried again
// until it works, while the release is seeded: that one node cannot make it
// live is no reason to keep it from the others.
func (j *job) land(ctx context.Context) error {
	j.complete.Store(true)
	if j.node.role == config.RoleMaster {
		j.landed = true
		return nil
	}
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var said repeated
	for {
		j.problem.Store("")
		err := j.activate(ctx)
		if err == nil || ctx.Err() != nil {
			j.landed = err == nil
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
	if last := j.node.torrent.Load(); last != nil && last.id == rel.ID {
		j.node.torrent.CompareAndSwap(last, nil)
		return last.Torrent, nil
	}
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
	cfg.ProgressFile = filepath.Join(rel.Dir, progressFile)
	cfg.Shared = true
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

// newFetcher makes the download over the long link, from the mirrors that may
// be used.
func (j *job) newFetcher(tor *swarm.Torrent) (*httpfetch.Fetcher, error) {
	n := j.node
	cfg := n.cfg.Load()
	var ups []*upstream.Client
	if n.master != nil {
		ups = append(ups, n.master.client)
	}
	if len(ups)+len(j.m.Mirrors) == 0 {
		return nil, noMirrorError{errors.New("no mirror is there: the release names none, and master is not set")}
	}
	mirrors, err := mirrorsOf(j.id, j.m, ups, cfg.Locations())
	if err != nil {
		return nil, err
	}
	return j.fetcherOf(tor, mirrors, false)
}

// fetcherOf makes the download of a torrent from mirrors.
func (j *job) fetcherOf(tor *swarm.Torrent, mirrors []httpfetch.Mirror, giveUp bool) (*httpfetch.Fetcher, error) {
	n := j.node
	cfg := n.cfg.Load()
	f, err := httpfetch.New(httpfetch.Config{
		Sink:            tor,
		Mirrors:         mirrors,
		GiveUp:          giveUp,
		Client:          n.mirrors,
		MaxConnsPerHost: cfg.MirrorConns,
		TierPatience:    cfg.Patience,
		Limiter:         n.limits.fromMirrors(j.m.Channel),
		Log:             j.log.Named("mirrors"),
	})
	if err == nil {
		n.paths.begin(f)
	}
	return f, err
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
