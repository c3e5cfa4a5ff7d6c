package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/internal/store"
	"distd/pkg/swarm"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
)

// Damaged pieces of a complete release are fetched again by its job: it is ended
// and begins anew with a store in which they are missing, so that they are
// neither offered nor counted as here, and come from wherever the release's
// pieces come. They are kept apart from the release. When all are there the
// store.Store makes whole files of them, and the job begins anew once more.

// mending is what a job has to fetch for a release that it has.
type mending struct {
	patches *store.Patches
	once    sync.Once
	fetched chan struct{} // closed when nothing is missing
}

func (w *mending) finish() { w.once.Do(func() { close(w.fetched) }) }

// mending returns what is to be fetched again for a release, or nil.
func (k *keeper) mending(id string) *mending {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mends[id]
}

// Waits of a repair.
const (
	restWait = time.Minute // for a job that has something else to do
	restTick = 50 * time.Millisecond
	stuckFor = 2 * time.Minute // without a piece
)

// errStuck says that the pieces of a damaged release could not be had.
var errStuck = errors.New("nobody sends the pieces that are damaged here; what has come is kept")

// refetch has the pieces that are missing in the patches fetched. It gives up
// when none has come for patience.
func (k *keeper) refetch(ctx context.Context, id string, p *store.Patches, patience time.Duration) error {
	w := &mending{patches: p, fetched: make(chan struct{})}
	k.mu.Lock()
	k.mends[id] = w
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.mends, id)
	}()
	if err := k.restart(ctx, id); err != nil {
		return err
	}
	missing, since := len(p.Missing()), time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-w.fetched:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if left := len(p.Missing()); left != missing {
				missing, since = left, now
			} else if now.Sub(since) > patience {
				return errStuck
			}
		}
	}
}

// restart ends the job of a release, once it is at rest, and starts it anew.
func (k *keeper) restart(ctx context.Context, id string) error {
	for begun := time.Now(); ; {
		k.mu.Lock()
		j := k.jobs[id]
		rests := j == nil || j.resting != nil || k.mendingJob(j)
		if j != nil && rests {
			k.end(j)
		}
		k.mu.Unlock()
		if rests {
			if j != nil {
				select {
				case <-j.ended:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			k.want(ctx, id)
			return ctx.Err()
		}
		if time.Since(begun) > restWait {
			return fmt.Errorf("release %s is being made live or waits for that", id)
		}
		select {
		case <-time.After(restTick):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mendingJob says that a job only fetches what is damaged, so that nothing is
// lost when it ends. The caller holds k.mu.
func (k *keeper) mendingJob(j *job) bool {
	s, _ := j.state.Load().(string)
	return s == stateRepairing
}

// mendTurn waits until the job may put its torrent into the swarm, and takes what
// other releases on this node have of the missing pieces. It returns false when
// that was all.
func (j *job) mendTurn(ctx context.Context, lay *layout.Layout, w *mending) (bool, error) {
	k := j.node.releases
	j.setState(stateRepairing)
	for {
		mine, changed := k.claim(j.m.InfoHash, j)
		whole, err := j.mendFromOthers(ctx, lay, w)
		if err == nil && whole && !mine {
			w.finish()
			return false, nil
		}
		if mine && err != nil {
			k.unclaim(j.m.InfoHash)
		}
		if mine || err != nil {
			return mine && err == nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func (j *job) mendFromOthers(ctx context.Context, lay *layout.Layout, w *mending) (whole bool, err error) {
	for _, other := range j.node.store.Releases() {
		if other.ID == j.id || !other.Complete || other.Manifest.InfoHash != j.m.InfoHash {
			continue
		}
		if whole, err = copyPieces(ctx, mendSink{w.patches}, other, lay, verifier(j.m)); err != nil {
			return false, fmt.Errorf("copy from release %s: %w", other.ID, err)
		}
		if whole {
			return true, nil
		}
		j.node.releases.oust(j.m.InfoHash, other.ID)
	}
	return false, nil
}

// refetched waits until the pieces are there.
func (j *job) refetched(ctx context.Context, w *mending, tor *swarm.Torrent) error {
	j.setState(stateRepairing)
	select {
	case <-tor.Done():
		j.log.Info("damaged pieces are here again", zap.Int64("from_peers", tor.Stats().Downloaded[swarm.SourcePeers]), zap.Int64("from_mirrors", tor.Stats().Downloaded[swarm.SourceMirrors]))
		w.finish()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mendSink takes only pieces that are missing.
type mendSink struct{ *store.Patches }

func (s mendSink) Has(i int) bool { return !s.Need(i) || s.Patches.Has(i) }

// mendStore is a complete release without the pieces that are damaged, which are
// written beside it.
type mendStore struct {
	*pieces.Store
	patches *store.Patches
}

func (s *mendStore) Have() *bitmap.Bitmap {
	b := s.Store.Have()
	for _, i := range s.patches.Missing() {
		b.Clear(i)
	}
	return b
}

func (s *mendStore) WritePiece(i int, data []byte) error { return s.patches.WritePiece(i, data) }

func (s *mendStore) ReadAt(buf []byte, i int, begin int64) error {
	switch {
	case !s.patches.Need(i):
		return s.Store.ReadAt(buf, i, begin)
	case !s.patches.Has(i):
		return fmt.Errorf("read piece %d: %w", i, pieces.ErrMissing)
	}
	return s.patches.ReadAt(buf, i, begin)
}

func (s *mendStore) FileRange(i int, begin, n int64) (*os.File, int64, bool, func()) {
	if s.patches.Need(i) {
		return nil, 0, false, nil
	}
	return s.Store.FileRange(i, begin, n)
}

func (s *mendStore) Sync(ctx context.Context) error { return s.patches.Sync(ctx) }
