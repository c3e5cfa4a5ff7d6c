package swarm

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"distd/pkg/swarm/serve"
	"distd/pkg/swarm/wire"
)

const (
	// maxRequests is how many requests of a peer are queued; it is what we
	// announce as reqq. 8 MiB of blocks are 512.
	maxRequests = 1024
	// maxRefused is how many requests of a peer may be refused before it is
	// taken for one that does not listen.
	maxRefused = 20000
	// maxSend is how many bytes are handed to the socket at once where it takes
	// them at once.
	maxSend = 256 << 10
)

// uploads is what a peer has asked for and not got.
type uploads struct {
	mu      sync.Mutex
	queue   []wire.Block
	wake    chan struct{}
	refused int
}

// add queues a request, unless there are too many.
func (u *uploads) add(b wire.Block) bool {
	u.mu.Lock()
	ok := len(u.queue) < maxRequests
	if ok {
		u.queue = append(u.queue, b)
	}
	u.mu.Unlock()
	if ok {
		select {
		case u.wake <- struct{}{}:
		default:
		}
	}
	return ok
}

// cancel takes a request back, and reports whether it could.
func (u *uploads) cancel(b wire.Block) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, q := range u.queue {
		if q == b {
			u.queue = append(u.queue[:i], u.queue[i+1:]...)
			return true
		}
	}
	return false
}

// take removes the oldest requests of up to n bytes in all, at least one.
func (u *uploads) take(n int, dst []wire.Block) []wire.Block {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := 0
	for ; k < len(u.queue) && (k == 0 || n >= int(u.queue[k].Length)); k++ {
		n -= int(u.queue[k].Length)
	}
	dst = append(dst, u.queue[:k]...)
	u.queue = u.queue[:copy(u.queue, u.queue[k:])]
	return dst
}

func (u *uploads) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.queue)
}

// requested queues a request of the peer, or refuses it.
func (c *conn) requested(b wire.Block) error {
	if !c.held.Load() && c.t.served.has(int(b.Index)) && c.up.add(b) {
		return nil
	}
	if c.up.refused++; c.up.refused > maxRefused {
		return fmt.Errorf("peer sent %d requests that had to be refused", c.up.refused)
	}
	c.refuse(b)
	return nil
}

func (c *conn) refuse(b wire.Block) {
	if c.s.Fast {
		c.w.SendRequest(wire.Reject, b)
	}
}

// write sends messages and blocks until the connection ends.
func (c *conn) write() {
	defer c.wrote()
	s := sender{c: c, size: wire.DefaultBlock, pace: newPacer(c.t.spec.Up, c.t.e.cfg.Up)}
	poke := time.NewTimer(time.Hour)
	defer poke.Stop()
	defer s.leave()
	defer s.pace.stop()
	for {
		if err := c.w.Flush(); err != nil {
			c.close(err)
			return
		}
		var paid <-chan struct{}
		if s.turn == nil {
			if paid = s.enter(); s.turn != nil {
				poke.Reset(serve.Stale)
			}
		}
		var ready chan struct{}
		if s.turn != nil {
			ready = s.turn.ready
		}
		select {
		case <-ready:
			s.wait.stop(&c.t.queued.turn)
			s.send()
			s.leave()
			continue
		default:
		}
		select {
		case <-c.w.Pending():
		case <-c.up.wake:
		case <-paid:
		case <-ready:
		case <-poke.C:
			if s.turn != nil {
				c.t.e.gate.poke()
				poke.Reset(serve.Stale)
			}
		case <-c.closing:
			return
		}
	}
}

// sender sends blocks of one connection. It belongs to the writer.
type sender struct {
	c     *conn
	turn  *ticket
	size  int // bytes to take at once
	lowat int
	list  []wire.Block
	pace  pacer
	wait  stopwatch // for the limits, or for a turn
	paid  int       // bytes that the limits have let through and that are not sent
	free  bool      // there is no limit
}

// enter gets in line for a turn, if there is something to send and the limits let
// it pass. It returns a channel to wait on when they do not yet.
func (s *sender) enter() (paid <-chan struct{}) {
	c := s.c
	if c.up.len() == 0 {
		s.wait = stopwatch{}
		return nil
	}
	if paid = s.pay(); paid != nil {
		s.wait.start()
		return paid
	}
	s.wait.stop(&c.t.queued.limits)
	s.wait.start()
	s.turn = c.t.e.gate.ask(c.t.spec.Priority, int(c.have.Load()))
	return nil
}

func (s *sender) leave() {
	if s.turn != nil {
		s.c.t.e.gate.leave(s.turn)
		s.turn = nil
	}
}

// send sends the oldest requests. How many at once follows from how long the
// socket takes for them: one on a slow link, where what is in the socket is
// out of our hands, many on a fast one, where system calls are what costs.
func (s *sender) send() {
	began, n := time.Now(), 0
	s.list = s.afford(s.list[:0])
	for _, b := range s.list {
		s.load(b)
		n += int(b.Length)
	}
	if err := s.c.w.Flush(); err != nil {
		if diskFault(err) {
			s.c.t.post(unreadableEvent{blocks: s.list, err: err})
		}
		return // the next Flush of write fails too
	}
	switch d := time.Since(began); {
	case d < time.Millisecond && n >= s.size:
		s.size = min(2*s.size, maxSend)
	case d > 4*time.Millisecond:
		s.size = max(s.size/2, wire.DefaultBlock)
	}
	s.tune()
}

// tune lets the socket hold more unsent bytes where it sends them fast.
func (s *sender) tune() {
	want := 2 * wire.DefaultBlock
	if s.size >= maxSend/2 {
		want = maxSend
	}
	if want != s.lowat {
		s.lowat = want
		setNotSentLowat(s.c.raw, want)
	}
}

// load queues one block with the connection's writer, from a file where that
// saves passing the bytes through memory and the files can be trusted to be
// whole: an error of sending from a file costs the connection.
func (s *sender) load(b wire.Block) {
	c, store := s.c, s.c.t.spec.Store
	if fs, ok := store.(FileStore); ok && c.w.SendsFiles() && !c.t.careful.Load() {
		if f, off, ok, release := fs.FileRange(int(b.Index), int64(b.Begin), int64(b.Length)); ok {
			c.w.SendFile(b, f, off, release)
			return
		}
	}
	budget := c.t.e.budget
	var data []byte
	var release func()
	if b.Length <= wire.DefaultBlock {
		data = budget.block()[:b.Length]
		release = func() { budget.freeBlock(data) }
	} else {
		p := budget.buffer(int(b.Length))
		data = *p
		release = func() { budget.freeBuffer(p) }
	}
	if err := store.ReadAt(data, int(b.Index), int64(b.Begin)); err != nil {
		c.t.post(unreadableEvent{blocks: []wire.Block{b}, err: err})
		c.refuse(b)
		return
	}
	c.w.SendBlock(b, data, release)
}

// pieceSet is a set of pieces that is read from many goroutines.
type pieceSet struct {
	n     int
	words []atomic.Uint64
}

func newPieceSet(n int) *pieceSet { return &pieceSet{n: n, words: make([]atomic.Uint64, (n+63)/64)} }

func (p *pieceSet) has(i int) bool {
	return i >= 0 && i < p.n && p.words[i>>6].Load()&(1<<(i&63)) != 0
}

func (p *pieceSet) set(i int) { p.words[i>>6].Or(1 << (i & 63)) }

func (p *pieceSet) clear(i int) { p.words[i>>6].And(^uint64(1 << (i & 63))) }
