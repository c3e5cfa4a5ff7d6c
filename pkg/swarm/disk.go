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
	written  int64 // bytes, ever
	synced   int64 // as many of them were durable at the last sync
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

// unsynced reports whether there is something to make durable.
func (t *Torrent) unsynced() bool {
	return t.disk.written > t.disk.synced || t.pick.Done() && !t.durable()
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
	if d.err != nil && !d.stuck() && len(t.broken) == 0 {
		t.log.Info("disk takes pieces again; downloading goes on")
		d.err, d.delay = nil, 0
		t.pick.MarkAll()
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
	if t.unsynced() && (now.Sub(d.lastSync) > t.e.cfg.SyncEvery || d.written-d.synced > syncBytes || t.pick.Done()) && (!t.pick.Done() || len(t.broken) == 0) {
		t.sync(now)
	}
}

// sync makes durable what was written, beside the loop.
func (t *Torrent) sync(now time.Time) {
	d := &t.disk
	if d.syncing || now.Before(d.syncAt) {
		return
	}
	upto := d.written
	d.syncing = t.e.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		t.post(syncedEvent{upto, t.spec.Store.Sync(ctx)})
	})
}

// syncedEvent says that the first upto bytes written are durable, or why not.
type syncedEvent struct {
	upto int64
	err  error
}

// syncFailed takes note of an error of the store's Sync.
func (t *Torrent) syncFailed(err error) {
	t.disk.errors++
	t.disk.err = err
	var lost *pieces.LostError
	if !errors.As(err, &lost) {
		return
	}
	for _, i := range lost.Pieces {
		t.lose(i)
	}
	t.pick.MarkAll()
}

func (s syncedEvent) apply(t *Torrent) {
	d := &t.disk
	d.syncing, d.lastSync = false, time.Now()
	switch {
	case s.err == nil:
	case t.ended: // the store may be closed by now
		return
	default:
		t.syncFailed(s.err)
		d.syncAt = d.lastSync.Add(5 * time.Second)
		t.log.Error("pieces could not be made durable; trying again", zap.Error(s.err))
		return
	}
	d.synced = max(d.synced, s.upto)
	if len(d.failed)+len(t.broken) == 0 {
		d.err = nil
	}
	switch {
	case !t.pick.Done() || len(t.broken) > 0:
	case d.synced >= d.written:
		t.finish()
	default:
		t.sync(time.Now())
	}
}
