package node

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/internal/store"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
)

// inherit takes what older releases of the channel had fetched when this one came
// and ended them: files of which every piece was verified are moved, and of the
// other files pieces with the same SHA-256 are copied, and verified. It returns the
// bytes. What nobody has a use for is removed with the older release.
func (j *job) inherit(ctx context.Context, lay *layout.Layout, ps *pieces.Store) (bytes int64, err error) {
	for _, old := range j.node.store.Releases() {
		if old.Complete || old.Manifest.Channel != j.m.Channel || old.Manifest.Serial >= j.m.Serial || ps.Have().All() {
			continue
		}
		if !j.node.releases.ended(ctx, old.ID) {
			continue
		}
		n, err := j.inheritFrom(ctx, old, lay, ps)
		bytes += n
		if ctx.Err() != nil {
			return bytes, ctx.Err()
		}
		if err != nil {
			j.log.Warn("not all that a release had fetched before it was superseded is used", zap.String("release", old.ID), zap.Error(err))
		}
		if n > 0 {
			j.log.Info("took over what a superseded release had fetched", zap.Uint64("from_serial", old.Manifest.Serial), zap.Int64("bytes", n))
		}
	}
	return bytes, nil
}

// Times of waiting for the end of a job that was superseded.
const (
	endPatience = 5 * time.Second
	endTick     = 10 * time.Millisecond
)

// ended waits for the end of a release's job, and says whether it came.
func (k *keeper) ended(ctx context.Context, id string) bool {
	for until := time.Now().Add(endPatience); time.Now().Before(until); {
		k.mu.Lock()
		_, there := k.jobs[id]
		k.mu.Unlock()
		if !there {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(endTick):
		}
	}
	return false
}

func (j *job) inheritFrom(ctx context.Context, old *store.Release, lay *layout.Layout, ps *pieces.Store) (bytes int64, err error) {
	from, err := old.Manifest.Layout()
	if err != nil {
		return 0, err
	}
	have, err := pieces.Recorded(pieces.Config{Layout: from, Identity: identity(old.ID), ProgressFile: filepath.Join(old.Dir, progressFile)})
	if err != nil {
		return 0, nil // it had fetched nothing that is known to be good
	}
	whole := func(i int) bool { return wholeIn(from, have, i) }
	got, err := j.node.store.TakeOver(ctx, j.id, old.ID, whole, missing(lay, ps, j.adopted))
	if len(got.Files) > 0 {
		j.adopted = append(j.adopted, got.Files...)
		ps.Adopt(j.adopted)
	}
	if err != nil {
		return got.Bytes, err
	}
	n, err := j.samePieces(ctx, old, from, have, lay, ps)
	return got.Bytes + n, err
}

// samePieces copies the pieces that another release has too. What cannot be read
// there, or is not what it was, is not taken.
func (j *job) samePieces(ctx context.Context, old *store.Release, from *layout.Layout, have *bitmap.Bitmap, lay *layout.Layout, ps *pieces.Store) (bytes int64, err error) {
	at := make(map[[sha256.Size]byte]int, have.Count())
	for i := range have.Ones() {
		at[old.Manifest.PieceHash(i)] = i
	}
	r, err := store.NewReader(old.ContentRoot(), from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }() // it was only read
	buf := make([]byte, min(lay.PieceLength, lay.Total))
	for i := range lay.NumPieces() {
		if err := ctx.Err(); err != nil {
			return bytes, err
		}
		p, ok := at[j.m.PieceHash(i)]
		if !ok || ps.Has(i) || from.PieceSize(p) != lay.PieceSize(i) {
			continue
		}
		b := buf[:lay.PieceSize(i)]
		if readPiece(r, from, p, b) != nil || sha256.Sum256(b) != j.m.PieceHash(i) {
			continue
		}
		if err := ps.WritePiece(i, b); err != nil {
			return bytes, err
		}
		bytes += int64(len(b))
	}
	return bytes, nil
}

// readPiece fills b with a piece of content.
func readPiece(r *store.Reader, lay *layout.Layout, piece int, b []byte) error {
	for seg := range lay.Segments(lay.PieceOffset(piece), int64(len(b))) {
		if err := r.Read(seg.File, b[:seg.Length], seg.Offset); err != nil {
			return err
		}
		b = b[seg.Length:]
	}
	return nil
}
