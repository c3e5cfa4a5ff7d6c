package swarm

import (
	"context"
	"errors"
	"syscall"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/pieces"
)

// diskState is what a torrent knows of its disk. It belongs to the loop.
type diskState struct {
	writing  int    // pieces with the workers
	failed   []*job // verified pieces that the disk refused
	retrying int    // those of them that are with the workers again
	delay    time.Duration
	retryAt  time.Time
	err      error
	errors   int64
	unsynced int64 // bytes
	lastSync time.Time
	syncing  bool
	syncAt   time.Time // not before, after a failure
}

// Delays of writing again after the disk refused.
const (
	firstDiskDelay = time.Second
	maxDiskDelay   = time.Minute
	// syncBytes is how much is downloaded at most before it is made durable.
	syncBytes = 256 << 20
)

func (d *diskState) stuck() bool { return len(d.failed)+d.retrying > 0 }

// busy reports whether the loop has to stay for the disk's sake.
func (d *diskState) busy() bool {
	return d.stuck() || d.syncing || d.unsynced > 0
}

// noSpace reports whether a disk is full.
func noSpace(err error) bool {
	var n interface{ NoSpace() bool }
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.As(err, &n) && n.NoSpace()
}

// diskFailed keeps a verified piece for another try. Nothing is asked for
// meanwhile; the connections stay.
func (t *Torrent) diskFailed(j *job) {
	d := &t.disk
	d.errors++
	if d.err == nil {
		d.delay = 0
		msg := "piece could not be written; downloading pauses and goes on by itself: check the disk"
		if noSpace(j.err) {
			msg = "disk is full; downloading pauses and goes on by itself when there is space"
		}
		t.log.Error(msg, zap.Int("piece", j.piece), zap.Error(j.err))
	}
	d.err = j.err
	d.failed = append(d.failed, j)
	if d.retryAt.IsZero() {
		d.delay = min(maxDiskDelay, max(firstDiskDelay, 2*d.delay))
		d.retryAt = time.Now().Add(d.delay)
	}
}

// worked notes that the disk takes pieces (again).
func (d *diskState) worked(t *Torrent) {
	if d.err != nil && !d.stuck() {
		t.log.Info("disk takes pieces again; downloading goes on")
		d.err, d.delay = nil, 0
		t.markAll()
	}
}

// tickDisk retries what failed and syncs what was written.
func (t *Torrent) tickDisk(now time.Time) {
	d := &t.disk
	if len(d.failed) > 0 && now.After(d.retryAt) {
		failed := d.failed
		d.failed, d.retryAt = nil, time.Time{}
		for _, j := range failed {
			j.err, j.again = nil, true
			d.writing++
			d.retrying++
			t.e.work.push(j)
		}
	}
	if d.unsynced > 0 && (now.Sub(d.lastSync) > t.e.cfg.SyncEvery || d.unsynced > syncBytes || t.pick.Done()) {
		t.sync(now)
	}
}

// sync makes durable what was written, beside the loop.
func (t *Torrent) sync(now time.Time) {
	d := &t.disk
	if d.syncing || now.Before(d.syncAt) {
		return
	}
	bytes := d.unsynced
	d.syncing = t.e.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		t.post(syncedEvent{bytes, t.spec.Store.Sync(ctx)})
	})
}

// syncedEvent says that bytes written before are durable, or why not.
type syncedEvent struct {
	bytes int64
	err   error
}

func (s syncedEvent) apply(t *Torrent) {
	d := &t.disk
	d.syncing, d.lastSync = false, time.Now()
	if s.err != nil {
		d.errors++
		d.err = s.err
		var lost *pieces.LostError
		if errors.As(s.err, &lost) {
			for _, i := range lost.Pieces {
				t.served.clear(i)
				t.pick.Lost(i)
			}
			d.unsynced, t.endgame = 0, false
		}
		d.syncAt = d.lastSync.Add(5 * time.Second)
		t.log.Error("pieces could not be made durable; trying again", zap.Error(s.err))
		return
	}
	d.unsynced -= s.bytes
	if len(d.failed) == 0 {
		d.err = nil
	}
	switch {
	case !t.pick.Done():
	case d.unsynced == 0:
		t.finish()
	default:
		t.sync(time.Now())
	}
}
