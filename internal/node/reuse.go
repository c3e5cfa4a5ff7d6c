package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/internal/store"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
)

// reuse takes over what other releases on this disk have already: files, by
// SHA-256, and what pieces they make up, and pieces of older releases of the
// channel that were not finished. It saves fetching and is never needed: what
// fails is fetched.
func (j *job) reuse(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) error {
	j.adopted = nil
	if rel.Complete || ps.Have().All() {
		return nil
	}
	start := time.Now()
	got, err := j.node.store.Reuse(ctx, j.id, store.ReuseMethod(j.node.cfg.Load().Reuse), missing(lay, ps, nil))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		j.log.Warn("not all that is on this disk could be taken over; the rest is fetched", zap.Error(err))
	}
	bytes := got.Bytes
	if j.adopted = got.Files; len(got.Files) > 0 {
		ps.Durable(got.Durable)
		n := ps.Adopt(got.Files)
		j.log.Info("took files over from releases on this disk", zap.Int("files", len(got.Files)), zap.Int("linked", got.Linked), zap.Int("copied", got.Copied),
			zap.Int64("bytes", got.Bytes), zap.Int("pieces", n), zap.Int("of_pieces", lay.NumPieces()), zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	}
	n, err := j.inherit(ctx, lay, ps)
	j.reused.Store(bytes + n)
	return err
}

// missing says of files, by their indexes, whether pieces of them are missing,
// but for those that are in their places already.
func missing(lay *layout.Layout, ps *pieces.Store, placed []int) func(int) bool {
	have := ps.Have()
	in := make(map[int]struct{}, len(placed))
	for _, i := range placed {
		in[i] = struct{}{}
	}
	return func(i int) bool {
		if _, ok := in[i]; ok {
			return false
		}
		return !wholeIn(lay, have, i)
	}
}

// wholeIn says whether all pieces of a file are in a set.
func wholeIn(lay *layout.Layout, have *bitmap.Bitmap, file int) bool {
	first, last := lay.FilePieces(file)
	for p := first; p < last; p++ {
		if !have.Has(p) {
			return false
		}
	}
	return true
}
