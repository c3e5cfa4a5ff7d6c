package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/swarm"
)

// A release that begins must leave min_free on the disk: old releases make room
// for it, and when that is not enough it waits. What is written after that may
// still find the disk full, since others write too: then the transfer waits by
// itself, and old releases go as well.

const (
	roomTick  = 2 * time.Second
	stateRoom = "waiting for space"
)

// room is an error that is ENOSPC when the node's disk would have less free than
// min_free after need bytes more.
func (n *Node) room(need int64) error {
	free, total, err := n.store.Space()
	if err != nil {
		return err
	}
	reserve := n.cfg.Load().MinFree.Of(total)
	if free-need >= reserve {
		return nil
	}
	return fmt.Errorf("%w in %s for %s: %s are free, of which %s stay free (min_free): make room, or lower min_free", syscall.ENOSPC, n.store.Dir(),
		humanize.IBytes(uint64(need)), humanize.IBytes(uint64(free)), humanize.IBytes(uint64(reserve)))
}

// makeRoom removes old releases until need bytes more leave min_free, and returns
// the error of room when that is not enough.
func (n *Node) makeRoom(ctx context.Context, need int64) error {
	lacks := n.room(need)
	if !errors.Is(lacks, syscall.ENOSPC) {
		return lacks
	}
	if err := n.store.DropSpares(); err != nil {
		n.log.Debug("a spare tree could not be removed", zap.Error(err))
	}
	before := n.store.Releases()
	removed, err := n.store.Free(ctx, func(freed int64) bool { return n.room(need-freed) == nil }, n.inFlight)
	n.dropped(before, removed, err, "removed an old release to make room")
	if len(removed) == 0 {
		return lacks
	}
	return n.room(need)
}

// inFlight says whether a release is on its way here.
func (n *Node) inFlight(id string) bool {
	for _, j := range n.releases.list() {
		if j.id == id && !j.complete.Load() && !j.gone.Load() {
			return true
		}
	}
	return n.releases.mending(id) != nil
}

// dropped ends the jobs of those of the releases before that were removed.
func (n *Node) dropped(before []*store.Release, removed []string, err error, what string) {
	if err != nil && !errors.Is(err, context.Canceled) {
		n.log.Error("removing old releases", zap.Error(err))
	}
	for _, rel := range before {
		if slices.Contains(removed, rel.ID) {
			n.releases.drop(rel.ID)
			n.log.Info(what, zap.String("channel", rel.Manifest.Channel), zap.Uint64("serial", rel.Manifest.Serial), zap.String("name", rel.Manifest.Name), zap.String("release", rel.ID))
		}
	}
}

// prune drops releases that the operator does not keep.
func (n *Node) prune(ctx context.Context) {
	cfg, before := n.cfg.Load(), n.store.Releases()
	removed, err := n.store.PruneBy(ctx, store.Rules{Keep: cfg.Keep, Age: cfg.KeepAge, Bytes: int64(cfg.KeepBytes), Now: time.Now()}, n.inFlight)
	n.dropped(before, removed, err, "removed an old release")
}

// tidy prunes at the start, now and then, since releases grow old, and when the settings have changed.
func (n *Node) tidy(ctx context.Context) error {
	if n.role == config.RoleMaster { // elsewhere it is done before the jobs begin
		n.prune(ctx)
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if n.cfg.Load().KeepAge == 0 {
				continue
			}
		case <-n.rules:
		}
		n.prune(ctx)
	}
}

// needs is how many bytes a release needs on the disk that is not here yet: no more
// than what has changed, where files are shared with earlier releases.
func (n *Node) needs(m *manifest.Manifest) int64 {
	if store.ReuseMethod(n.cfg.Load().Reuse) == store.ReuseLink {
		return n.store.Lacking(m)
	}
	return m.Size
}

// awaitRoom waits until there is space for what is missing of a release.
func (j *job) awaitRoom(ctx context.Context, rel *store.Release) error {
	n := j.node
	if rel.Complete {
		return nil
	}
	need := max(0, n.needs(rel.Manifest)-n.store.Allocated(j.id))
	waits := false
	defer func() {
		if waits {
			n.short.Add(-1)
		}
	}()
	for {
		err := n.makeRoom(ctx, need)
		if err == nil {
			if waits {
				j.log.Info("there is space now; the release is fetched")
				j.problem.Store("")
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		j.setState(stateRoom)
		j.problem.Store(err.Error())
		if !waits {
			waits = true
			n.short.Add(1)
			j.log.Error("no space for a release; it waits, and what is live stays", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomTick):
		}
	}
}

// watchRoom removes old releases when the disk turns out to be full on the way.
func (j *job) watchRoom(ctx context.Context, tor *swarm.Torrent) error {
	n := j.node
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	full := false
	defer func() {
		if full {
			n.short.Add(-1)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tor.Done():
			return nil
		case <-tick.C:
		}
		is := diskFull(tor.Stats().DiskError)
		if is != full {
			if full = is; full {
				n.short.Add(1)
			} else {
				n.short.Add(-1)
			}
		}
		if full {
			// An error means that nothing can go: the transfer waits, and says so.
			_ = n.makeRoom(ctx, j.m.Size-j.node.store.Allocated(j.id))
		}
	}
}

// diskFull says that the error of a disk is one of space.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// DiskStatus is the space on the node's disk.
type DiskStatus struct {
	Free     int64 `json:"free"` // bytes
	Size     int64 `json:"size"`
	MinFree  int64 `json:"min_free"`      // that stay free
	Releases int64 `json:"bytes_on_disk"` // of complete releases
	Short    bool  `json:"short"`         // a release waits for space
}

// describeDisk fills in what the releases take.
func (n *Node) describeDisk(s *Status) {
	d := &s.Disk
	d.Free, d.Size, _ = n.store.Space() // 0 when it cannot be seen
	d.MinFree = n.cfg.Load().MinFree.Of(d.Size)
	use := n.store.Usage()
	d.Releases, d.Short = use.Total, n.short.Load() > 0
	for i := range s.Releases {
		s.Releases[i].BytesOnDisk = use.Freed[s.Releases[i].ID]
	}
}
