package swarm

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/wire"
)

// Torrent is one swarm that this node takes part in.
type Torrent struct {
	e       *Engine
	spec    Spec
	log     *zap.Logger
	box     *mailbox
	limits  wire.Limits
	served  *pieceSet
	done    chan struct{} // closed when all that is wanted is there and durable
	closed  chan struct{} // closed by Close
	changed chan struct{}
	queued  queued
	began   time.Time
	left    atomic.Int64 // bytes of the wanted pieces that are missing
	share   atomic.Int64 // bytes that are for this node to fetch from mirrors
	careful atomic.Bool  // some pieces cannot be read
	// mirrored are the bytes that have come from mirrors.
	mirrored atomic.Int64

	// All below belongs to the loop.
	pick     *picker.Picker
	conns    []*conn
	book     *book
	dialling int
	parts    map[int]*part
	ended    bool
	ticked   time.Time
	disk     diskState
	docs     docs
	counts   counters
	broken   map[int]time.Time // pieces that could not be read, and when to look again
	looking  bool              // whether one of them can be read
	// recheck is the wait after a look that failed, and rechecked since when.
	recheck   time.Duration
	rechecked time.Time
	// Of sharing what is fetched from mirrors.
	fetching   bool        // some piece was asked for
	claiming   bool        // and could be claimed
	meeting    *time.Timer // runs while others are waited for
	claimsTold int64       // of mirrored, to those who fetch
	rumoured   int64       // and to the others, at
	rumouredAt time.Time
}

func newTorrent(e *Engine, s Spec) (*Torrent, error) {
	n := s.Layout.NumPieces()
	have := s.Store.Have()
	if have.Len() != n {
		return nil, fmt.Errorf("store is for %d pieces, the torrent has %d", have.Len(), n)
	}
	t := &Torrent{
		e: e, spec: s, box: newMailbox(), served: newPieceSet(n), began: time.Now(),
		log:  e.log.WithLazy(zap.String("torrent", s.Name), zap.String("infohash", hex.EncodeToString(s.InfoHash[:]))),
		done: make(chan struct{}), closed: make(chan struct{}), changed: make(chan struct{}, 1),
		book: newBook(e.allows), parts: make(map[int]*part), counts: newCounters(), broken: make(map[int]time.Time),
	}
	last := int64(0)
	if n > 0 {
		last = s.Layout.PieceSize(n - 1)
	}
	t.pick = picker.New(picker.Config{
		Pieces: n, PieceLength: s.Layout.PieceLength, LastLength: last, Have: have.Has, Want: s.Want, Directing: s.Directing,
		OneCopy: s.OneCopy, Contended: s.Fetchers > 0, ID: seedID(e.cfg.PeerID), Grow: t.grow, Seed: uint64(time.Now().UnixNano()),
	})
	for i := range n {
		switch {
		case have.Has(i):
			t.served.set(i)
		case s.Want == nil || s.Want(i):
			t.left.Add(s.Layout.PieceSize(i))
		}
	}
	t.updateShare()
	t.limits = wire.Limits{
		Pieces: n, PieceLength: s.Layout.PieceLength, Total: s.Layout.Total,
		MaxBlock: picker.BlockSize, MaxExtended: maxExtended,
	}
	t.disk.lastSync = time.Now()
	if t.pick.Done() {
		t.finish()
	}
	return t, nil
}

// now is the picker's clock.
func (t *Torrent) now() time.Duration { return time.Since(t.began) }

// post sends the loop an event, and starts the loop when there is none. It
// does not wait, but when the engine does not run it acts for the loop.
func (t *Torrent) post(ev event) {
	if t.box.put(ev) && !t.e.spawn(t.run) {
		t.letGo()
	}
}

// call runs f as the loop would and waits for it. The loop itself must not use
// it, nor may what the loop calls: AllowPeer, and the Store in Close.
func (t *Torrent) call(f func()) {
	if t.box.own() {
		t.work()
		f()
		t.settle()
		t.letGo()
		return
	}
	ran := make(chan struct{})
	t.post(callEvent(func(*Torrent) { f(); close(ran) }))
	<-ran
}

// letGo ends acting for the loop, and starts a real one if there is need and
// the engine runs.
func (t *Torrent) letGo() {
	for {
		if !t.idle() {
			if t.e.spawn(t.run) {
				return
			}
			t.shutDown()
		}
		if t.box.disown() {
			return
		}
		t.work()
		t.settle()
	}
}

// run is the loop. It ends when the torrent is idle, and with the engine.
func (t *Torrent) run() {
	ctx := t.e.context()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t.work()
		now := time.Now()
		wait := t.pace()
		if now.Sub(t.ticked) >= wait {
			t.ticked = now
			t.tick(now)
		}
		t.settle()
		if t.idle() {
			t.dropStranded() // an idle torrent holds no memory that others want
			t.settle()
			t.rest()
			if t.box.disown() {
				return
			}
		}
		timer.Reset(t.nap())
		select {
		case <-t.box.wake:
		case <-timer.C:
		case <-ctx.Done():
			t.shutDown()
			t.letGo()
			return
		}
	}
}

// nap is how long the loop may sleep.
func (t *Torrent) nap() time.Duration {
	d := t.pace() - time.Since(t.ticked)
	if due := t.pick.Due(); due > 0 {
		d = min(d, due-t.now())
	}
	return max(time.Millisecond, d)
}

// work handles the mail.
func (t *Torrent) work() {
	for mail := t.box.take(); len(mail) > 0; mail = t.box.take() {
		for _, ev := range mail {
			ev.apply(t)
		}
		t.settle()
	}
}

// idle reports whether nothing will happen unless somebody sends an event.
func (t *Torrent) idle() bool {
	if len(t.conns) > 0 || t.dialling > 0 || t.disk.writing > 0 {
		return false
	}
	if t.ended {
		return true
	}
	return !t.disk.stuck() && !t.disk.syncing && !t.unsynced() && len(t.broken) == 0 && t.docs.blob == nil && !t.book.hopeful(t.need())
}

// pace is the time between two ticks.
func (t *Torrent) pace() time.Duration {
	if t.pick.Done() || len(t.conns) == 0 {
		return 500 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// tick does what depends on time.
func (t *Torrent) tick(now time.Time) {
	if t.ended {
		return
	}
	if t.pick.Tick(t.now()) {
		t.signalChanged()
	}
	if t.e.budget.wanted() {
		t.dropStranded()
	}
	t.tickClaims(now)
	t.counts.tick(t, now)
	t.tickConns(now)
	t.tickDisk(now)
	t.tickBroken(now)
	t.tickDocs(now)
	t.dial(now)
}

// settle decides what to ask and to reveal, after things have happened.
func (t *Torrent) settle() {
	t.pick.Pause(t.ended || t.disk.stuck())
	t.do(t.pick.Decide(t.now()))
	t.shrink()
}

// end is shutDown for a torrent without a loop when the engine ends.
func (t *Torrent) end() {
	if t.box.own() {
		t.work()
		t.shutDown()
		t.letGo()
	}
}

// shutDown closes everything when the engine ends.
func (t *Torrent) shutDown() {
	for _, c := range t.conns {
		c.close(ErrClosed)
	}
	t.finalSync()
}

// finalSync makes durable what is there, within a bounded time.
func (t *Torrent) finalSync() {
	if !t.unsynced() {
		return
	}
	upto := t.disk.written
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := t.spec.Store.Sync(ctx)
	if err != nil {
		t.syncFailed(err)
		t.log.Error("pieces could not be made durable before closing; they will be verified again", zap.Error(err))
	}
	// Once is enough, even if it failed: the disk gets no further try.
	t.disk.synced = max(t.disk.synced, upto)
	if err == nil && t.pick.Done() {
		t.finish()
	}
}

// AddPeers makes addresses known. source names where they came from: one of the
// sources of addresses, or another word. Config.KeptOut is told of it.
func (t *Torrent) AddPeers(source string, addrs []netip.AddrPort) {
	addrs = append([]netip.AddrPort(nil), addrs...)
	t.post(callEvent(func(t *Torrent) {
		for _, a := range addrs {
			t.book.add(source, a)
		}
		t.dial(time.Now())
	}))
}

// Close drops the torrent and its connections, and makes what was downloaded
// durable. It does not close the Store. Closing twice does nothing.
func (t *Torrent) Close() error {
	t.e.remove(t)
	t.call(func() {
		if t.ended {
			return
		}
		t.ended = true
		close(t.closed)
		if t.meeting != nil {
			t.meeting.Stop()
		}
		for _, c := range slices.Clone(t.conns) {
			t.drop(c, ErrClosed)
		}
		t.finalSync()
		clear(t.parts)
		t.forgetDocs()
		t.e.budget.forget(t)
		t.account(time.Now())
		t.e.budget.give(int64(t.pick.End()) * t.spec.Layout.PieceLength)
	})
	return nil
}
