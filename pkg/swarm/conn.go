package swarm

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/wire"
)

// conn is one connection after its handshake.
type conn struct {
	t       *Torrent
	s       *wire.Session
	raw     net.Conn
	remote  netip.AddrPort
	r       *wire.Reader
	w       *wire.Writer
	up      uploads
	credits chan struct{} // bounds the batches that the loop has not handled
	closing chan struct{}
	once    sync.Once
	err     error // why it closed; set before closing is closed
	since   time.Time

	have      atomic.Int32  // pieces that the peer has, for the gate
	lastRead  atomic.Int64  // unix nanoseconds
	throttled atomic.Bool   // a limit keeps blocks from being read
	dhtPort   atomic.Uint32 // where the peer says that its DHT is
	dhtTold   atomic.Bool   // that was passed on
	held      atomic.Bool   // nothing is exchanged yet: see fence.go
	cancelled atomic.Int64  // requests taken back, whose answers may still come

	mu    sync.Mutex
	asked map[wire.Block][]byte // with the place for it; nil: anywhere

	// Belongs to the reader.
	slow     pacer
	lent     bool // the last block went straight to its place
	told     int  // how often a bitfield, have-all or have-none has come
	unwanted int64

	// All below belongs to the torrent's loop.
	addr           *addr // in the book; nil when the peer's port is not known
	pe             *picker.Peer
	foreign        error // it is to a peer of another zone
	blamed         bool
	peerInterested bool
	choked         bool // we are, by the peer
	directing      bool // is a directing seed
	kin            bool // is a distd
	farewell       time.Time
	alone          time.Time // since when two seeds have had no leaf
	client         string
	pexID, metaID  uint8
	claimsID       uint8 // set when it knows of claims
	fetches        bool  // has told what it has claimed
	introduced     bool  // is told what is claimed here
	claimed        int   // pieces named in its claims so far
	pexAt          time.Time
	pexSent        map[netip.AddrPort]struct{}
	pexCame        time.Time
	metaServed     int
	docsID         uint8 // set when it asks for documents, or has some
	docsServed     int
	docsWaiting    []int // parts that it is sent when the documents are here
	down, wasted   int64
	snubbedSince   time.Time
	sentBytes      int64
	sentAt         time.Time
	gain           meter // of the pieces that the peer has, in bytes
}

// maxCredits is how many batches of a peer's messages may wait for the loop.
const maxCredits = 4

func newConn(t *Torrent, s *wire.Session, raw net.Conn, a *addr) *conn {
	c := &conn{
		t: t, s: s, raw: raw, addr: a, remote: remoteAddr(raw), since: time.Now(),
		credits: make(chan struct{}, maxCredits), closing: make(chan struct{}), asked: make(map[wire.Block][]byte),
		choked: true,
	}
	if a != nil {
		c.remote = a.ap
	}
	c.held.Store(t.e.cfg.Zone != "" && s.Extensions)
	c.up.wake = make(chan struct{}, 1)
	c.slow = newPacer(t.spec.Down, t.e.cfg.Down)
	if t.e.cfg.Tune != nil {
		t.e.cfg.Tune(raw)
	}
	limits := t.limits
	limits.Fast, limits.Extensions = s.Fast, s.Extensions
	c.r = wire.NewReader(s.Conn, wire.ReaderConfig{Limits: limits, Sink: c.sink, Timeout: t.e.cfg.IdleTimeout})
	c.w = wire.NewWriter(s.Conn, wire.WriterConfig{Timeout: t.e.cfg.IdleTimeout})
	c.sentAt = c.since
	c.lastRead.Store(c.since.UnixNano())
	return c
}

// String names the peer in logs.
func (c *conn) String() string { return c.remote.String() }

// close ends the connection; its reader tells the loop. Only the first reason
// counts.
func (c *conn) close(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.closing)
		c.w.Close()
		_ = c.raw.Close()
	})
}

// expect notes that a block was asked for, and where it belongs.
func (c *conn) expect(b wire.Block, place []byte) {
	c.mu.Lock()
	c.asked[b] = place
	c.mu.Unlock()
}

// redirect takes back the place for a block, which is then read elsewhere when
// it comes. It reports false when it is being read, or has been.
func (c *conn) redirect(b wire.Block) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.asked[b]
	if ok {
		c.asked[b] = nil
	}
	return ok
}

// unexpect takes that back. It reports false when the block is there already.
func (c *conn) unexpect(b wire.Block) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.asked[b]
	if ok {
		delete(c.asked, b)
		c.cancelled.Add(1)
	}
	return ok
}

// sink gives memory to blocks that were asked for; others are skipped. It waits
// until the limits let the block in: meanwhile the socket fills, and TCP slows
// the peer down.
func (c *conn) sink(b wire.Block) []byte {
	if !c.slow.wait(int(b.Length), c.closing, &c.throttled) {
		return nil
	}
	c.mu.Lock()
	place, ok := c.asked[b]
	delete(c.asked, b)
	c.mu.Unlock()
	c.lent = place != nil
	if !ok || c.lent {
		return place
	}
	if b.Length > wire.DefaultBlock {
		return make([]byte, b.Length)
	}
	return c.t.e.budget.block()[:b.Length]
}

// peerMsg is a message for the loop.
type peerMsg struct {
	kind  wire.Type
	extID uint8
	block wire.Block
	data  []byte
	lent  bool // data is the block's own place
}

// batchEvent is what a peer sent, as much as came at once.
type batchEvent struct {
	c    *conn
	msgs []peerMsg
}

// closedEvent says that a connection's reader has ended.
type closedEvent struct{ c *conn }

const maxBatch = 64

// read turns messages into events until the connection ends.
func (c *conn) read() {
	var batch []peerMsg
	var m wire.Message
	for {
		err := c.r.Next(&m)
		var keep bool
		if err == nil {
			var pm peerMsg
			if pm, keep, err = c.sort(&m); keep {
				batch = append(batch, pm)
			}
		}
		// A batch must not wait for the network: less than a block in the buffer
		// may be an incomplete one. Nor must it wait for a limit.
		if len(batch) > 0 && (err != nil || c.slow.limited() || c.r.Buffered() <= wire.DefaultBlock+13 || len(batch) >= maxBatch || m.Type == wire.Extended || m.Type == wire.Bitfield) {
			if !c.deliver(batch) {
				break
			}
			batch = nil
		}
		if err != nil {
			c.close(err)
			break
		}
	}
	c.t.post(closedEvent{c})
}

// deliver hands a batch to the loop once that has handled earlier ones.
func (c *conn) deliver(batch []peerMsg) bool {
	c.lastRead.Store(time.Now().UnixNano())
	select {
	case c.credits <- struct{}{}:
		c.t.post(batchEvent{c, batch})
		return true
	case <-c.closing:
		return false
	}
}

// maxUnwanted is how many blocks beyond the cancelled ones a peer may send
// that nobody asked for.
const maxUnwanted = 64

// maxTold is how often a peer may say what it has wholesale, beyond once for
// each piece.
const maxTold = 16

// sort handles what is for this side of the connection alone, and says whether
// the message is one for the loop.
func (c *conn) sort(m *wire.Message) (pm peerMsg, keep bool, err error) {
	pm = peerMsg{kind: m.Type, extID: m.ExtID, block: m.Block()}
	switch m.Type {
	case wire.KeepAlive, wire.Unknown, wire.Suggest:
		return pm, false, nil
	case wire.Port:
		c.dhtAt(m.Port)
		return pm, false, nil
	case wire.Request:
		return pm, false, c.requested(m.Block())
	case wire.Cancel:
		// BEP 6 wants an answer to every request, cancelled ones too.
		if c.up.cancel(m.Block()) || c.w.DropBlock(m.Block()) {
			c.refuse(m.Block())
		}
		return pm, false, nil
	case wire.Piece:
		if m.Data == nil {
			if c.unwanted++; c.unwanted > c.cancelled.Load()+maxUnwanted {
				return pm, false, fmt.Errorf("peer sent %d blocks that nobody asked for", c.unwanted)
			}
			return pm, false, nil
		}
		pm.data, pm.lent = m.Data, c.lent
	case wire.Bitfield, wire.HaveAll, wire.HaveNone:
		// aria2 sends a bitfield at any time in place of many HAVE messages.
		if c.told++; c.told > maxTold+c.t.limits.Pieces {
			return pm, false, fmt.Errorf("peer told all its pieces %d times", c.told)
		}
		pm.data = append([]byte(nil), m.Data...)
	case wire.Extended:
		pm.data = append([]byte(nil), m.Data...)
	}
	return pm, true, nil
}
