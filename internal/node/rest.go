package node

import (
	"errors"
	"sync"

	"go.uber.org/zap"

	"distd/pkg/swarm"
	"distd/pkg/swarm/pieces"
)

// holding is what a job has open while its torrent is in the swarm.
type holding struct {
	pieces  *pieces.Store
	claimed bool // the torrent of the infohash is the job's
	torrent *swarm.Torrent
	unwatch func() // ends the search for peers; nil where there is none
}

// launch gives the job a goroutine until it is at rest or has ended. The caller
// holds k.mu.
func (k *keeper) launch(j *job) {
	k.running.Go(func() {
		if !j.keepTrying() {
			k.forget(j)
		}
	})
}

// rest leaves the job without a goroutine, with what it holds; without a torrent
// it waits for another job to give up that of its infohash. It reports false when
// there is something to do instead: the job shall end, or the torrent is free.
func (k *keeper) rest(j *job, h *holding) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if j.ctx.Err() != nil {
		return false
	}
	if h.torrent == nil {
		c := k.claims[j.m.InfoHash]
		if c == nil {
			return false
		}
		c.waiting = append(c.waiting, j)
	}
	j.resting = h
	return true
}

// end ends a job, without waiting for it: its goroutine does, or one that is
// started for it when it is at rest. The caller holds k.mu.
func (k *keeper) end(j *job) {
	j.cancel()
	if h := j.resting; h != nil {
		j.resting = nil
		k.running.Go(func() {
			j.release(h)
			k.forget(j)
		})
	}
}

// endResting ends all jobs at rest when the node ends: no further job comes to
// rest then.
func (k *keeper) endResting() {
	for _, j := range k.list() {
		k.mu.Lock()
		h := j.resting
		j.resting = nil
		k.mu.Unlock()
		if h != nil {
			j.takeAnnounces() // those who announce tell the trackers by themselves
			j.release(h)
			k.forget(j)
		}
	}
}

// forget takes a job that has ended from the list.
func (k *keeper) forget(j *job) {
	j.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.jobs, j.id)
	close(j.ended)
}

// release gives up what a job held while it was at rest.
func (j *job) release(h *holding) {
	if err := j.letGo(h); err != nil {
		j.log.Warn("closing a release", zap.Error(err))
	}
}

// letGo closes what the job holds, and tells who wants to know.
func (j *job) letGo(h *holding) (err error) {
	n := j.node
	if h.unwatch != nil {
		h.unwatch()
	}
	var told sync.WaitGroup
	for _, a := range j.takeAnnounces() {
		told.Go(func() { a.group.Remove(a.Announcer) })
	}
	told.Wait()
	gone := j.gone.Load() && !n.releases.shared(j.m.InfoHash, j)
	err = j.closePacks(gone)
	if h.torrent != nil {
		// The tracker keeps the peers of the others over a restart.
		if gone {
			n.dismiss(h.torrent.InfoHash())
		}
		err = errors.Join(err, h.torrent.Close())
	}
	if h.claimed {
		n.releases.unclaim(j.m.InfoHash)
	}
	if h.pieces != nil {
		err = errors.Join(err, h.pieces.Close())
	}
	return err
}
