package sim

import (
	"slices"
	"time"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/serve"
)

// msgKind is what a message of the protocol says.
type msgKind uint8

const (
	msgHave msgKind = iota
	msgHaveAll
	msgBitfield // the pieces of link.greeting
	msgHello    // the extension handshake
	msgUnchoke
	msgInterested
	msgRequest
	msgCancel
)

type msg struct {
	kind                 msgKind
	piece, begin, length int32
}

func (m msg) request() picker.Request {
	return picker.Request{Piece: int(m.piece), Begin: int(m.begin), Length: int(m.length)}
}

// Bytes on the cable. Blocks have 5 % of headers, as was measured; a packet of
// messages has one set of them.
const (
	packetHeader = 66
	blockPercent = 105
)

// size is the message's length on the cable.
func (m msg) size(pieces int) int {
	switch m.kind {
	case msgHave:
		return 9
	case msgBitfield:
		return 5 + pieces/8
	case msgHello:
		return 300
	case msgRequest, msgCancel:
		return 17
	}
	return 5
}

// item is what is written to a socket at once: a packet of messages, or a block.
type item struct {
	msgs []msg // nil: a block
	r    picker.Request
	wire int // bytes on the cable
}

// link is one direction of a connection: what from sends to to.
type link struct {
	id       int32
	from, to *node
	back     *link
	dead     bool
	pe       *picker.Peer // the far end, as from's picker knows it
	greeting []int32      // pieces of the bitfield

	// The writer. control is told and not written; queue is what the far end
	// has asked for; list is what was taken of it for the turn.
	control []msg
	queue   []picker.Request
	list    []picker.Request
	turn    serve.Turn
	asked   bool // the turn was asked for and not given back
	granted bool
	began   time.Duration // of the turn
	taken   int           // bytes of the turn
	burst   int           // bytes to take at once
	lowat   int
	queued  bool // in node.writers

	// The socket.
	sock    fifo[item]
	headOut int // bytes of the first item that are sent
	unsent  int
	flight  fifo[item]
	inRing  bool // the uplink will come by
	held    bool // waits for the far end's downlink
}

// maxSend is how many bytes the writer takes at once from a fast socket, and
// what such a socket may hold unsent, as in the engine.
const maxSend = 256 * kib

// tell adds a message to those that are to be written.
func (l *link) tell(m msg) {
	if l.control == nil {
		l.control = l.from.net.messages()
	}
	l.control = append(l.control, m)
	l.from.write(l)
}

// pump is the writer: it moves messages and blocks into the socket while that
// has room, messages first.
func (l *link) pump() {
	n := l.from
	for !l.dead && l.unsent < l.lowat {
		if len(l.control) > 0 {
			l.put(n.net.packet(l.control))
			l.control = nil
			continue
		}
		if !l.granted || len(l.list) == 0 {
			break
		}
		r := l.list[0]
		l.list = l.list[1:]
		l.put(item{r: r, wire: r.Length * blockPercent / 100})
		if len(l.list) == 0 {
			l.endTurn()
		}
	}
	if !l.dead && !l.asked && len(l.queue) > 0 {
		l.asked = true
		n.line.Ask(&l.turn, 0, l.pe.Count(), n.net.now)
		n.grant()
		n.poke()
	}
}

// begin takes the oldest requests when the turn has come.
func (l *link) begin() {
	if !l.asked {
		return
	}
	l.granted, l.began, l.taken = true, l.from.net.now, 0
	k := 0
	for k < len(l.queue) && (k == 0 || l.taken+l.queue[k].Length <= l.burst) {
		l.taken += l.queue[k].Length
		k++
	}
	l.list = append(l.list[:0], l.queue[:k]...)
	l.queue = l.queue[:copy(l.queue, l.queue[k:])]
	if k == 0 { // all withdrawn meanwhile
		l.endTurn()
	}
}

// endTurn gives the turn back once its blocks are in the socket, and decides
// from the time that took how many to take next.
func (l *link) endTurn() {
	n := l.from
	switch d := n.net.now - l.began; {
	case l.taken == 0:
	case d < time.Millisecond && l.taken >= l.burst:
		l.burst = min(2*l.burst, maxSend)
	case d > 4*time.Millisecond:
		l.burst = max(l.burst/2, picker.BlockSize)
	}
	l.lowat = n.net.cfg.Lowat
	if l.burst >= maxSend/2 {
		l.lowat = maxSend
	}
	l.asked, l.granted = false, false
	n.line.Leave(&l.turn, n.net.now)
	n.grant()
	n.write(l)
}

// put writes an item to the socket.
func (l *link) put(it item) {
	l.sock.push(it)
	l.unsent += it.wire
	if !l.inRing && !l.held {
		l.from.enter(l)
	}
}

// sendsControl reports whether what the socket sends next are messages.
func (l *link) sendsControl() bool { return l.sock.first().msgs != nil }

// cut takes up to limit bytes off the socket, no further than the end of a
// block, and returns how many bytes those are and how many items they end.
func (l *link) cut(limit int) (bytes, items int) {
	for l.sock.len() > 0 && bytes < limit {
		it := l.sock.first()
		block := it.msgs == nil
		take := min(it.wire-l.headOut, limit-bytes)
		bytes += take
		if l.headOut += take; l.headOut < it.wire {
			break
		}
		l.headOut = 0
		if block {
			l.from.payload += int64(it.r.Length)
		}
		l.flight.push(l.sock.pop())
		items++
		if block || l.sock.len() > 0 && !l.sendsControl() {
			break
		}
	}
	return bytes, items
}

// withdraw takes back a request that is still in the queue.
func (l *link) withdraw(r picker.Request) {
	if i := slices.Index(l.queue, r); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}
