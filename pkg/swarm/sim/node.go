package sim

import (
	"slices"
	"time"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/serve"
)

// node is a seed or a leaf: a picker, a line, and connections.
type node struct {
	cable
	net       *network
	id        int32
	host      Host
	directing bool
	maxConns  int
	running   bool
	life      int32 // how often it has come up
	pick      *picker.Picker
	line      *serve.Line
	links     []*link
	writers   []*link // that have something to do
	room      int     // pieces that memory was granted for
	due       time.Duration
	poked     bool
	full      bool // has everything, and has dropped those that have it too

	done    time.Duration // when it had everything
	wasted  int64         // bytes of blocks that nobody wanted
	payload int64         // bytes of blocks that its uplink has been given
}

const (
	// memory is what the pieces of a node may hold, growBy what is asked for
	// at a time, as in the engine.
	memory = 64 * mib
	growBy = 1 * mib
	// maxRequests and longBlock are what distd tells its peers.
	maxRequests = 1024
	longBlock   = 128 * kib
)

// grow grants memory for more pieces.
func (n *node) grow() int {
	length := int(n.net.cfg.PieceLength)
	g := max(0, min(max(1, growBy/length), memory/length-n.room))
	n.room += g
	return g
}

// write makes the next flush look at the link's writer.
func (n *node) write(l *link) {
	if !l.queued {
		l.queued = true
		n.writers = append(n.writers, l)
	}
}

// flush runs the writers that have something to do.
func (n *node) flush() {
	for len(n.writers) > 0 {
		l := n.writers[len(n.writers)-1]
		n.writers = n.writers[:len(n.writers)-1]
		l.queued = false
		l.pump()
	}
}

// grant begins the turns that have come.
func (n *node) grant() {
	var few [4]*serve.Turn
	for _, t := range append(few[:0], n.line.Granted()...) {
		l := t.Owner.(*link)
		l.begin()
		n.write(l)
	}
}

// poke sees to it that those who wait in line look for holders that do not
// count any more.
func (n *node) poke() {
	if !n.poked {
		n.poked = true
		n.net.after(serve.Stale, event{kind: evPoke, a: n.id})
	}
}

func (n *node) lookAround() {
	n.poked = false
	if !slices.ContainsFunc(n.links, func(l *link) bool { return l.asked && !l.granted }) {
		return
	}
	n.line.Poke(n.net.now)
	n.grant()
	n.poke()
	n.flush()
}

// settle sends what the picker decides after something has happened.
func (n *node) settle() {
	for _, a := range n.pick.Decide(n.net.now) {
		l := a.Peer.Owner.(*link)
		if l.dead {
			continue
		}
		m := msg{piece: int32(a.Piece), begin: int32(a.Begin), length: int32(a.Length)}
		switch a.Kind {
		case picker.Ask:
			m.kind = msgRequest
		case picker.Withdraw:
			m.kind = msgCancel
		case picker.Tell:
			m.kind = msgHave
		case picker.TellAll:
			m.kind = msgHaveAll
		case picker.Want:
			m.kind = msgInterested
		}
		l.tell(m)
	}
	n.room -= n.pick.Shrink()
	n.flush()
	if due := n.pick.Due(); due > 0 && (n.due == 0 || due < n.due) {
		n.due = max(due, n.net.now+time.Millisecond)
		n.net.at(n.due, event{kind: evDue, a: n.id, b: n.life})
	}
}

// timer handles what the node wanted to do at this time.
func (n *node) timer(kind eventKind) {
	switch kind {
	case evTick:
		n.tick()
	case evDue:
		n.due = 0
		n.settle()
	case evSearch:
		n.net.search(n)
	}
}

// tick is the engine's timer.
func (n *node) tick() {
	n.pick.Tick(n.net.now)
	n.settle()
	wait := 100 * time.Millisecond
	if n.pick.Done() || len(n.links) == 0 {
		wait = 500 * time.Millisecond
	}
	n.net.after(wait, event{kind: evTick, a: n.id, b: n.life})
}

// take handles what has come over a link.
func (n *node) take(l *link, items int) {
	for range items {
		it := l.flight.pop()
		if it.msgs == nil {
			n.block(l.back, it.r)
			continue
		}
		for _, m := range it.msgs {
			n.message(l.back, m)
		}
		n.net.recycle(it.msgs)
	}
	n.settle()
	if n.pick.Done() {
		n.dropFull(l.back)
	}
}

// message handles a message of the link's far end.
func (n *node) message(l *link, m msg) {
	now := n.net.now
	switch m.kind {
	case msgHave:
		n.pick.SetHave(l.pe, int(m.piece), now)
	case msgHaveAll:
		for i := range n.net.cfg.Pieces {
			n.pick.SetHave(l.pe, i, now)
		}
		l.pe.SetWholesale(true)
	case msgBitfield:
		for _, i := range l.back.greeting {
			n.pick.SetHave(l.pe, int(i), now)
		}
		l.back.greeting = nil
	case msgHello:
		l.pe.SetLimit(maxRequests)
		l.pe.SetKin()
		l.pe.SetUnit(longBlock)
		if l.to.directing {
			n.pick.Exempt(l.pe, l.to.net.seedID(l.to))
		}
	case msgUnchoke:
		n.pick.SetChoked(l.pe, false)
	case msgRequest:
		if n.pick.Has(int(m.piece)) && len(l.queue) < maxRequests {
			l.queue = append(l.queue, m.request())
			n.write(l)
		} else {
			n.net.refused++
		}
	case msgCancel:
		l.withdraw(m.request())
	}
}

// block takes in a block.
func (n *node) block(l *link, r picker.Request) {
	switch n.pick.Arrived(l.pe, r, n.net.now) {
	case picker.Unwanted:
		n.wasted += int64(r.Length)
	case picker.Whole:
		n.net.after(n.net.verify, event{kind: evStored, a: n.id, b: int32(r.Piece), c: n.life})
	}
}

// stored goes on after a piece is verified.
func (n *node) stored(piece int) {
	if n.pick.Has(piece) {
		return
	}
	n.pick.Stored(piece, n.net.now)
	if n.pick.Done() && n.done == 0 {
		n.done = n.net.now
		n.net.finished(n)
	}
	n.settle()
	if n.pick.Done() && !n.full {
		n.full = true
		for _, l := range slices.Clone(n.links) {
			n.dropFull(l)
		}
	}
}

// dropFull ends a connection whose two ends have everything.
func (n *node) dropFull(l *link) {
	if !l.dead && l.pe.Count() == n.net.cfg.Pieces {
		n.net.disconnect(l)
	}
}
