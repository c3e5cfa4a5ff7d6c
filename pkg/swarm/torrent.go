package swarm

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
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
	done    chan struct{} // closed when all is there and durable
	closed  chan struct{} // closed by Close
	changed chan struct{}
	began   time.Time

	// All below belongs to the loop.
	pick     *picker.Picker
	conns    []*conn
	dirty    []*conn // want asking or revealing
	reqs     []picker.Request
	book     *book
	dialling int
	parts    map[int]*part
	reserved int // pieces that the budget has room for
	ended    bool
	endgame  bool
	ticked   time.Time
	disk     diskState
	counts   counters
	dialAt   time.Time
	pexAt    time.Time
}

// part is the memory of a piece that is being fetched.
type part struct{ blocks [][]byte }

func newTorrent(e *Engine, s Spec) (*Torrent, error) {
	n := s.Layout.NumPieces()
	have := s.Store.Have()
	if have.Len() != n {
		return nil, fmt.Errorf("store is for %d pieces, the torrent has %d", have.Len(), n)
	}
	t := &Torrent{
		e: e, spec: s, box: newMailbox(), served: newPieceSet(n), began: time.Now(),
		log:  e.log.With(zap.String("torrent", s.Name), zap.String("infohash", hex.EncodeToString(s.InfoHash[:]))),
		done: make(chan struct{}), closed: make(chan struct{}), changed: make(chan struct{}, 1),
		book: newBook(e.cfg.AllowPeer), parts: make(map[int]*part), counts: newCounters(),
	}
	last := int64(0)
	if n > 0 {
		last = s.Layout.PieceSize(n - 1)
	}
	t.pick = picker.New(picker.Config{
		Pieces: n, PieceLength: s.Layout.PieceLength, LastLength: last, Have: have.Has, Directing: s.Directing,
		Seed: uint64(time.Now().UnixNano()),
	})
	for i := range have.Ones() {
		t.served.set(i)
	}
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
// never blocks.
func (t *Torrent) post(ev event) {
	if t.box.put(ev) && !t.e.spawn(t.run) {
		t.box.abandon()
	}
}

// call runs f as the loop would and waits for it. It reports false when the
// engine ended before.
func (t *Torrent) call(f func()) bool {
	if t.box.own() {
		t.work()
		f()
		t.settle()
		t.letGo()
		return true
	}
	ran := make(chan struct{})
	t.post(callEvent(func(*Torrent) { f(); close(ran) }))
	select {
	case <-ran:
		return true
	case <-t.e.stopped:
		return false
	}
}

// letGo ends acting for the loop, and starts a real one if there is need.
func (t *Torrent) letGo() {
	if !t.idle() {
		if t.e.spawn(t.run) {
			return
		}
		t.shutDown()
	}
	for !t.box.disown() {
		if t.e.spawn(t.run) {
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
		if t.idle() && t.box.disown() {
			return
		}
		timer.Reset(max(time.Millisecond, t.pace()-time.Since(t.ticked)))
		select {
		case <-t.box.wake:
		case <-timer.C:
		case <-ctx.Done():
			t.shutDown()
			t.box.abandon()
			return
		}
	}
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
	if t.disk.busy() {
		return false
	}
	a, wait := t.book.due(time.Now(), t.pick.Done())
	return a == nil && wait == maxBackoff
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
	t.counts.tick(t, now)
	t.tickConns(now)
	t.tickDisk(now)
	t.dial(now)
	if !t.pick.Done() {
		t.markAll()
	}
}

// mark makes settle look at the connection.
func (t *Torrent) mark(c *conn) {
	if !c.dirty && c.pe != nil {
		c.dirty = true
		t.dirty = append(t.dirty, c)
	}
}

func (t *Torrent) markAll() {
	for _, c := range t.conns {
		t.mark(c)
	}
}

// settle decides what to ask and to reveal, after things have happened.
func (t *Torrent) settle() {
	if !t.endgame && t.pick.Endgame() {
		t.endgame = true
		t.markAll()
	}
	for len(t.dirty) > 0 {
		todo := t.dirty
		t.dirty = nil
		for _, c := range todo {
			c.dirty = false
			if c.pe != nil {
				t.reveal(c)
				t.ask(c)
			}
		}
	}
	t.shrink()
}

// end is shutDown for a torrent without a loop when the engine ends.
func (t *Torrent) end() {
	if t.box.own() {
		t.work()
		t.shutDown()
		t.box.abandon()
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
	if t.disk.unsynced == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := t.spec.Store.Sync(ctx); err != nil {
		t.log.Error("pieces could not be made durable before closing; they will be verified again", zap.Error(err))
		return
	}
	t.disk.unsynced = 0
}

// AddPeers makes addresses known. source names where they came from: tracker,
// pex, configured.
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
		for _, c := range t.conns {
			c.close(ErrClosed)
		}
		t.finalSync()
		t.e.budget.forget(t)
	})
	return nil
}
