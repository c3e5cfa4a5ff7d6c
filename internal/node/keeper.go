package node

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/store"
)

// keeper keeps the node's releases: one job for each that is fetched or seeded.
// A job has a goroutine while there is something to do for its release. One that
// is only seeded is at rest: the job holds what the swarm needs and nothing runs,
// so that a thousand of them cost no more than memory.
type keeper struct {
	node    *Node
	wanted  chan string    // IDs of releases that shall have a job
	running sync.WaitGroup // the jobs that are not at rest

	mu     sync.Mutex
	jobs   map[string]*job
	claims map[string]*claim // by infohash
	mends  map[string]*mending

	// activating serialises what changes the live names and runs hooks, by
	// channel.
	activating locks
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, wanted: make(chan string, 64), jobs: map[string]*job{}, claims: map[string]*claim{}, mends: map[string]*mending{}}
}

// want starts a job for a staged or complete release that has none. That ctx has
// ended, as with who publishes and does not wait for the end, is no reason to leave
// it out.
func (k *keeper) want(ctx context.Context, id string) {
	select {
	case k.wanted <- id:
		return
	default:
	}
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
	if k.node.role != config.RoleMaster { // there tidy does it
		k.node.prune(ctx)
	}
	for _, rel := range k.node.store.Releases() {
		if rel.Complete || k.newest(rel.Manifest.Channel) == rel.ID {
			k.start(ctx, rel.ID, rel.Complete)
		}
	}
	for {
		select {
		case id := <-k.wanted:
			k.start(ctx, id, false)
		case <-ctx.Done():
			k.endResting()
			k.running.Wait() // jobs report their own errors
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

// start makes a job for a release that has none. kept says that the release was
// complete when the node started.
func (k *keeper) start(ctx context.Context, id string, kept bool) {
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
	j := k.newJob(rel)
	j.kept = kept
	j.ctx, j.cancel = context.WithCancel(ctx)
	j.setState(stateStarting)
	j.complete.Store(rel.Complete)
	k.supersede(rel)
	k.jobs[id] = j
	k.launch(j)
}

func (k *keeper) newJob(rel *store.Release) *job {
	return &job{node: k.node, id: rel.ID, m: rel.Manifest, started: time.Now(), ended: make(chan struct{}),
		log: k.node.log.Named("release").WithLazy(zap.String("channel", rel.Manifest.Channel), zap.Uint64("serial", rel.Manifest.Serial), zap.String("name", rel.Manifest.Name))}
}

// of returns the job of a release, or one that is not started, to do a single
// step of it.
func (k *keeper) of(rel *store.Release) *job {
	k.mu.Lock()
	defer k.mu.Unlock()
	if j := k.jobs[rel.ID]; j != nil {
		return j
	}
	return k.newJob(rel)
}

// supersede ends the transfers of older releases of the same channel: nobody
// will activate them any more. The caller holds k.mu.
func (k *keeper) supersede(rel *store.Release) {
	for _, j := range k.jobs {
		if j.m.Channel == rel.Manifest.Channel && j.m.Serial < rel.Manifest.Serial && !j.complete.Load() {
			j.log.Info("superseded by a newer release", zap.Uint64("newer", rel.Manifest.Serial))
			j.gone.Store(true)
			k.end(j)
		}
	}
}

// drop ends the job of a release that was removed, without waiting for it.
func (k *keeper) drop(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if j := k.jobs[id]; j != nil {
		j.gone.Store(true)
		k.end(j)
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
	return k.activating.of(channel)
}
