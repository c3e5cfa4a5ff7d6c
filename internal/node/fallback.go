package node

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/pkg/swarm"
)

// With every seed of the datacenter away, its leaves may fetch from the mirrors
// themselves (wan_fallback). A few of them do, the first by a hash of their IDs,
// and tell each other what they claim, as seeds do; the others have it from them.

const (
	// maxFallback is how many leaves fetch at once: enough for a line each where
	// they have their own, and few enough for a master with hundreds of leaves.
	maxFallback = 4
	// fallbackStep is what a leaf waits longer for each that is to come before it:
	// when its turn comes, those have begun and it sees them.
	fallbackStep = 300 * time.Millisecond
	fallbackTick = 250 * time.Millisecond
)

// fetch brings the release's pieces from mirrors where that is the node's task,
// until ctx ends or all are there.
func (j *job) fetch(ctx context.Context, tor *swarm.Torrent) error {
	n := j.node
	after, allowed := n.cfg.Load().FallbackAfter()
	var err error
	switch {
	case n.role == config.RoleSeed:
		err = j.fetchFrom(ctx, tor)
	case allowed:
		err = j.fallBack(ctx, tor, after)
	}
	var none noMirrorError
	if errors.As(err, &none) && (n.role == config.RoleLeaf || n.otherSeeds > 0) {
		j.log.Warn("all is left to the seeds of the datacenter", zap.Error(err))
		return nil
	}
	return err
}

func (j *job) fetchFrom(ctx context.Context, tor *swarm.Torrent) error {
	f, err := j.newFetcher(tor)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.fetcher = f
	j.mu.Unlock()
	defer j.keepMirrors()
	return f.Run(ctx)
}

// fallBack fetches while no seed is there, and has not been for so long.
func (j *job) fallBack(ctx context.Context, tor *swarm.Torrent, after time.Duration) error {
	w := newSeedWatch(tor.InfoHash(), j.node.peerID, after)
	tick := time.NewTicker(fallbackTick)
	defer tick.Stop()
	var running *task
	defer func() { _ = running.stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tor.Done():
			return nil
		case err := <-running.done():
			if running = nil; err != nil {
				return err
			}
			continue
		case <-tick.C:
		}
		switch fetch := w.update(tor.Stats().Peers, time.Now(), running != nil); {
		case fetch && running == nil:
			j.log.Warn("no seed is there: fetching from mirrors", zap.Duration("for", after))
			tor.AddPeers("neighbours", j.node.engine.Neighbours())
			running = start(ctx, func(ctx context.Context) error { return j.fetchFrom(ctx, tor) })
		case !fetch && running != nil:
			j.log.Info("a seed is there again, or enough other leaves fetch: leaving the mirrors to them")
			if err := running.stop(); err != nil {
				return err
			}
			running = nil
		}
	}
}

// task is a function that runs until it is stopped.
type task struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(ctx context.Context, f func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, ended: make(chan error, 1)}
	go func() { t.ended <- f(ctx) }()
	return t
}

// done yields the error of a task that ended by itself.
func (t *task) done() <-chan error {
	if t == nil {
		return nil
	}
	return t.ended
}

// stop ends the task and returns its error, but for that of being stopped. A nil
// task has ended.
func (t *task) stop() error {
	if t == nil {
		return nil
	}
	t.cancel()
	return ignoreCancel(<-t.ended)
}

// seedWatch decides whether a leaf fetches from mirrors.
type seedWatch struct {
	key   []byte // of this leaf, for the order among them
	of    func(id [20]byte) []byte
	after time.Duration
	since time.Time // when a seed was last seen
}

func newSeedWatch(infoHash, id [20]byte, after time.Duration) *seedWatch {
	of := func(id [20]byte) []byte {
		h := sha1.Sum(append(infoHash[:], id[:]...))
		return h[:]
	}
	return &seedWatch{key: of(id), of: of, after: after}
}

// update takes what peers there are now and says whether to fetch. fetching says
// whether this leaf does at present.
func (w *seedWatch) update(peers []swarm.PeerStats, now time.Time, fetching bool) bool {
	if w.since.IsZero() {
		w.since = now
	}
	before, others, betters := 0, 0, 0
	for _, p := range peers {
		if p.Directed {
			w.since = now
		}
		better := p.Kin && bytes.Compare(w.of(p.ID), w.key) < 0
		if better {
			before++
		}
		if p.Fetches {
			others++
			if better {
				betters++
			}
		}
	}
	if now.Sub(w.since) < w.after || w.since.Equal(now) {
		return false
	}
	if fetching {
		return betters < maxFallback
	}
	return others < maxFallback && now.Sub(w.since) >= w.after+time.Duration(before)*fallbackStep
}

// watchWithoutSeeds is the Watch of a leaf's follower of the master: it runs
// while no seed can be followed, and none could for as long as wan_fallback says.
func (f *follower) watchWithoutSeeds(ctx context.Context, channels []string, fn func(channel string)) error {
	tick := time.NewTicker(fallbackTick)
	defer tick.Stop()
	since := time.Now()
	f.spare.Store(true)
	var running *task
	defer func() { _ = running.stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		after, _ := f.node.cfg.Load().FallbackAfter()
		if f.node.followsSeed() {
			since = time.Now()
		}
		switch away := time.Since(since) >= after && !f.node.followsSeed(); {
		case away && running == nil:
			f.log.Warn("no seed answers: following the master", zap.Duration("for", after))
			f.spare.Store(false)
			running = start(ctx, func(ctx context.Context) error { return f.client.Watch(ctx, channels, fn) })
		case !away && running != nil:
			f.log.Info("a seed answers again: no longer following the master")
			f.spare.Store(true)
			if err := running.stop(); err != nil {
				return err
			}
			running = nil
		}
	}
}

// followsSeed reports whether some seed of the datacenter can be followed.
func (n *Node) followsSeed() bool {
	for _, f := range n.ups {
		if c, ok := f.client.Contact(); f != n.master && ok && c.Err == nil {
			return true
		}
	}
	return false
}
