package node

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/internal/store"
	"distd/pkg/swarm/pieces"
)

// claim says which job has the torrent of an infohash in the swarm. Releases
// of the same name and content share one: in two channels, or where a channel
// goes back to what it had before. The first job has it for all of them. The
// others copy the content on this node, and one takes over when the first ends.
type claim struct {
	job     *job
	changed chan struct{} // closed when the job's release became complete, or the job ended
	waiting []*job        // at rest until the job has ended
}

// claim gives the torrent of an infohash to the job. When another job has it,
// asking again is worth while once changed is closed.
func (k *keeper) claim(ih string, j *job) (ok bool, changed <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.claims[ih]
	if c == nil {
		k.claims[ih] = &claim{job: j, changed: make(chan struct{})}
		return true, nil
	}
	return c.job == j, c.changed
}

// unclaim gives the torrent back, and sets those to work that wait for it.
func (k *keeper) unclaim(ih string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.claims[ih]
	if c == nil {
		return
	}
	close(c.changed)
	delete(k.claims, ih)
	for _, j := range c.waiting {
		if j.resting != nil { // it has not been ended meanwhile
			j.resting = nil
			k.launch(j)
		}
	}
}

// completed tells those who wait for the torrent's job that there is content
// to copy now.
func (k *keeper) completed(ih string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.claims[ih]; c != nil {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// newPapers says that the torrent in the swarm is that of another release too, and
// peers are to be given its papers.
func (k *keeper) newPapers(ih string) {
	k.mu.Lock()
	c := k.claims[ih]
	k.mu.Unlock()
	if c == nil {
		return
	}
	c.job.mu.Lock()
	tor := c.job.torrent
	c.job.mu.Unlock()
	if tor != nil {
		tor.ReloadDocuments()
	}
}

// oust ends the job of a damaged release that has the torrent: what is missing
// can then be fetched by the next job in turn.
func (k *keeper) oust(ih, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.claims[ih]; c != nil && c.job.id == id {
		k.end(c.job)
	}
}

// shared says whether another job that stays has a release with this infohash.
func (k *keeper) shared(ih string, than *job) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, j := range k.jobs {
		if j != than && j.m.InfoHash == ih && !j.gone.Load() {
			return true
		}
	}
	return false
}

// turn waits until the job may put its torrent into the swarm. While another
// job has it, the release is completed and activated from what that one has; once
// it is, turn returns without the torrent. Others hear of it all the same, and have
// it by that torrent.
func (j *job) turn(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) (_ *store.Release, mine bool, err error) {
	k := j.node.releases
	for {
		mine, changed := k.claim(j.m.InfoHash, j)
		next, err := j.copied(ctx, rel, lay, ps)
		if mine && err != nil {
			k.unclaim(j.m.InfoHash)
		}
		if mine || err != nil {
			return next, mine && err == nil, err
		}
		rel = next
		j.node.tell(j.m.Channel)
		k.newPapers(j.m.InfoHash)
		if j.node.finder != nil {
			j.node.finder.offer(rel)
		}
		j.setState(stateShared)
		if rel.Complete {
			if !j.landed {
				if err := j.land(ctx); err != nil {
					return nil, false, err
				}
			}
			j.setState(stateSeeding)
			return rel, false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// copied completes a release from another complete one with the same content,
// if this node has one. The bytes are verified on their way.
func (j *job) copied(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) (*store.Release, error) {
	if rel.Complete {
		return rel, nil
	}
	for _, other := range j.node.store.Releases() {
		if other.ID == j.id || !other.Complete || other.Manifest.InfoHash != j.m.InfoHash {
			continue
		}
		j.setState(stateCopying)
		whole, err := copyPieces(ctx, ps, other, lay, verifier(j.m))
		if err != nil {
			return nil, fmt.Errorf("copy from release %s: %w", other.ID, err)
		}
		if whole {
			return j.commit(ctx, ps, zap.String("copied_from", other.ID))
		}
		j.log.Warn("a release with the same content is damaged; what is good of it was taken (distd verify names its files)", zap.String("release", other.ID))
		j.node.releases.oust(j.m.InfoHash, other.ID)
	}
	return rel, nil
}

// pieceSink takes verified pieces.
type pieceSink interface {
	Has(i int) bool
	WritePiece(i int, data []byte) error
}

// copyPieces copies what is good of another release's content, and says
// whether all pieces are there then.
func copyPieces(ctx context.Context, to pieceSink, from *store.Release, lay *layout.Layout, verify func(int, []byte) bool) (whole bool, err error) {
	src, err := pieces.Open(pieces.Config{Dir: from.ContentRoot(), Layout: lay, Complete: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	buf := make([]byte, lay.PieceLength)
	whole = true
	for i := range lay.NumPieces() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if to.Has(i) {
			continue
		}
		b := buf[:lay.PieceSize(i)]
		if err := src.ReadAt(b, i, 0); err != nil || !verify(i, b) {
			whole = false
			continue
		}
		if err := to.WritePiece(i, b); err != nil {
			return false, err
		}
	}
	return whole, nil
}
