package node

import (
	"context"
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
	// fallbackMeet is how long before they may fetch leaves connect to those that
	// they know from other releases, where no seed tells them of each other.
	fallbackMeet = 5 * time.Second
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
	n := j.node
	w := newSeedWatch(tor.InfoHash(), n.peerID, after, n.seedless.before(time.Now(), after))
	tick := time.NewTicker(fallbackTick)
	defer tick.Stop()
	var running *task
	defer func() { _ = running.stop() }()
	var met bool
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
		now := time.Now()
		fetch := w.update(tor.Stats().Peers, now, running != nil)
		if !met && w.soon(now) {
			met = true
			tor.AddPeers("neighbours", n.engine.Neighbours())
		}
		switch {
		case fetch && running == nil:
			j.log.Warn("no seed is there: fetching from mirrors", zap.Duration("for", after))
			running = start(ctx, func(ctx context.Context) error { return j.fetchFrom(ctx, tor) })
		case !fetch && running != nil:
			j.log.Info("a seed is there again, or enough other leaves fetch: leaving the mirrors to them")
			err := running.stop()
			if running = nil; err != nil {
				return err
			}
		}
	}
}

// watchWithoutSeeds is the Watch of a leaf's follower of the master: it runs
// while no seed can be followed, and none could for as long as wan_fallback says.
func (f *follower) watchWithoutSeeds(ctx context.Context, channels []string, fn func(channel string)) error {
	tick := time.NewTicker(fallbackTick)
	defer tick.Stop()
	f.spare.Store(true)
	var running *task
	defer func() { _ = running.stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-running.done():
			running = nil
			return err
		case now := <-tick.C:
			after, _ := f.node.cfg.Load().FallbackAfter()
			followed := f.node.followsSeed()
			switch away := f.node.seedless.note(followed, now) >= after && !followed; {
			case away && running == nil:
				f.log.Warn("no seed answers: following the master", zap.Duration("for", after))
				f.spare.Store(false)
				running = start(ctx, func(ctx context.Context) error { return f.client.Watch(ctx, channels, fn) })
			case !away && running != nil:
				f.log.Info("a seed answers again: no longer following the master")
				f.spare.Store(true)
				err := running.stop()
				if running = nil; err != nil {
					return err
				}
			}
		}
	}
}

// followsSeed reports whether some seed of the datacenter can be followed.
func (n *Node) followsSeed() bool {
	for _, f := range n.upstreams() {
		if c, ok := f.client.Contact(); f != n.master && ok && c.Err == nil {
			return true
		}
	}
	return false
}
