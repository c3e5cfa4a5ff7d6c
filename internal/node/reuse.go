package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/internal/store"
	"distd/pkg/swarm/pieces"
)

// reuse takes over the files that other releases on this disk have already, by
// SHA-256, and what pieces they make up. It saves fetching and is never needed:
// what fails is fetched.
func (j *job) reuse(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) error {
	if rel.Complete {
		return nil
	}
	j.adopted = nil
	have := ps.Have()
	if have.All() {
		return nil
	}
	start := time.Now()
	missing := func(i int) bool {
		first, last := lay.FilePieces(i)
		for p := first; p < last; p++ {
			if !have.Has(p) {
				return true
			}
		}
		return false
	}
	got, err := j.node.store.Reuse(ctx, j.id, store.ReuseMethod(j.node.cfg.Load().Reuse), missing)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		j.log.Warn("not all that is on this disk could be taken over; the rest is fetched", zap.Error(err))
	}
	if len(got.Files) == 0 {
		return nil
	}
	j.adopted = got.Files
	n := ps.Adopt(got.Files)
	j.reused.Store(got.Bytes)
	j.log.Info("took files over from releases on this disk", zap.Int("files", len(got.Files)), zap.Int("linked", got.Linked), zap.Int("copied", got.Copied),
		zap.Int64("bytes", got.Bytes), zap.Int("pieces", n), zap.Int("of_pieces", lay.NumPieces()), zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	return nil
}
