package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/store"
)

// Spare trees: what the next release of a channel begins with is made when
// nothing else is to be done, see store.PrepareSpare.

const (
	// spareAfter is how long no release must have been on its way.
	spareAfter = 500 * time.Millisecond
	// spareFolder is about what a folder takes on the disk.
	spareFolder = 8 << 10
)

// wantSpares has the spares brought up to date soon.
func (n *Node) wantSpares() {
	select {
	case n.spares <- struct{}{}:
	default:
	}
}

// keepSpares makes a spare for each channel's live release, when the node has been
// idle for a moment, and removes all of them when they are not wanted.
func (n *Node) keepSpares(ctx context.Context) error {
	n.wantSpares()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.spares:
		}
		for wait := true; wait; wait = n.busy() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(spareAfter):
			}
		}
		if err := n.makeSpares(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("no spare tree is at hand; the next release takes a little longer", zap.Error(err))
		}
	}
}

// busy says whether a release is on its way here.
func (n *Node) busy() bool {
	for _, j := range n.releases.list() {
		if !j.complete.Load() && !j.gone.Load() {
			return true
		}
	}
	return false
}

func (n *Node) makeSpares(ctx context.Context) error {
	cfg := n.cfg.Load()
	if n.role == config.RoleMaster || !cfg.Spare || store.ReuseMethod(cfg.Reuse) != store.ReuseLink {
		return n.store.DropSpares()
	}
	for _, channel := range n.store.Channels() {
		if err := n.makeSpare(ctx, channel); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) makeSpare(ctx context.Context, channel string) error {
	id, ok := n.store.Live(channel)
	if !ok {
		return nil
	}
	rel, err := n.store.Release(id)
	if err != nil {
		return nil //nolint:nilerr // it was removed meanwhile
	}
	if err := n.room(int64(len(rel.Manifest.Dirs)+1) * spareFolder); err != nil {
		n.log.Debug("no spare tree is made", zap.String("channel", channel), zap.Error(err))
		return n.store.DropSpares()
	}
	start := time.Now()
	made, err := n.store.PrepareSpare(ctx, channel)
	if made {
		n.log.Debug("made a spare tree for the next release", zap.String("channel", channel), zap.String("base", id), zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	}
	return err
}
