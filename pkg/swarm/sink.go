package swarm

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
)

// badPieceError is the error of Deliver for bytes that are not the piece's.
type badPieceError struct {
	source string
	piece  int
}

func (e *badPieceError) Error() string {
	return fmt.Sprintf("piece %d from %s does not verify", e.piece, e.source)
}

// BadPiece tells this error from those of the disk.
func (e *badPieceError) BadPiece() bool { return true }

// Layout is how the torrent's bytes lie in pieces and files.
func (t *Torrent) Layout() *layout.Layout { return t.spec.Layout }

// InfoHash names the torrent.
func (t *Torrent) InfoHash() [20]byte { return t.spec.InfoHash }

// Done is closed when every piece that is wanted is there and durable.
func (t *Torrent) Done() <-chan struct{} { return t.done }

// Left is the number of bytes of the wanted pieces that are still missing. It costs
// nothing and may be called from anywhere.
func (t *Torrent) Left() int64 { return t.left.Load() }

// Changed is signalled when a Claim that got nothing may succeed now.
func (t *Torrent) Changed() <-chan struct{} { return t.changed }

func (t *Torrent) signalChanged() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Claim reserves up to limit missing pieces that no other source is fetching,
// as the run [first, first+n). n is 0 when there is none now.
func (t *Torrent) Claim(source string, limit int) (first, n int) {
	t.call(func() {
		if t.ended || !t.begin() {
			return
		}
		var taken bool
		first, n, taken = t.pick.Claim(limit, t.now())
		t.counts.mirrored = true
		t.account(time.Now())
		if n > 0 {
			t.updateShare()
			t.tellClaim(first, n, taken)
		}
		for i := first; i < first+n; i++ {
			t.dropPart(i)
		}
	})
	return first, n
}

// Unclaim gives back claimed pieces that were not delivered.
func (t *Torrent) Unclaim(first, n int) {
	t.post(callEvent(func(t *Torrent) {
		t.pick.Unclaim(first, n)
		t.updateShare()
		t.tellUnclaim(first, n)
		t.account(time.Now())
		t.signalChanged()
		t.pick.MarkAll()
	}))
}

// Deliver takes a whole piece, verifies and stores it, and makes it known to
// the peers. An error with a BadPiece method blames the source; others are the
// disk's, and the same piece may be delivered again later.
func (t *Torrent) Deliver(ctx context.Context, source string, piece int, data []byte) error {
	if piece < 0 || piece >= t.spec.Layout.NumPieces() || int64(len(data)) != t.spec.Layout.PieceSize(piece) {
		return &badPieceError{source, piece}
	}
	n := int64(len(data))
	if t.served.has(piece) {
		t.post(callEvent(func(t *Torrent) { t.counts.wasted += n }))
		return nil
	}
	select {
	case t.e.verifying <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("deliver piece %d: %w", piece, ctx.Err())
	case <-t.closed:
		return fmt.Errorf("deliver piece %d: %w", piece, ErrClosed)
	}
	defer func() { <-t.e.verifying }()
	if !t.spec.Verify(piece, data) {
		t.log.Warn("mirror sent bad bytes", zap.Int("piece", piece), zap.String("source", source))
		t.post(callEvent(func(t *Torrent) {
			t.counts.badPieces++
			t.counts.wasted += n
		}))
		return &badPieceError{source, piece}
	}
	if err := t.spec.Store.WritePiece(piece, data); err != nil {
		t.post(callEvent(func(t *Torrent) { t.disk.errors++; t.disk.err = err }))
		return fmt.Errorf("deliver piece %d: %w", piece, err)
	}
	t.post(callEvent(func(t *Torrent) {
		if t.pick.Has(piece) {
			t.counts.wasted += n
			return
		}
		t.counts.sources[SourceMirrors] += n
		if len(t.disk.failed)+len(t.broken) == 0 {
			t.disk.err = nil
		}
		t.stored(piece)
		t.account(time.Now())
	}))
	return nil
}
