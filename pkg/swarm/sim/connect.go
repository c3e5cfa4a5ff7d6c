package sim

import (
	"slices"
	"time"

	"distd/pkg/swarm/picker"
)

// searchEvery is the time between two looks for more peers.
const searchEvery = 5 * time.Second

// search connects a node: to all where there are few, else to the seeds that
// have room and to as many others as it wants, as chance brings them.
func (s *network) search(n *node) {
	if s.mesh {
		for _, o := range s.ready {
			if o != n && !n.knows(o) {
				s.connect(n, o)
			}
		}
		return
	}
	for i := range s.cfg.Seeds {
		s.tryConnect(n, s.nodes[i])
	}
	if !s.seed(n) && !n.pick.Done() {
		for range 4 * s.cfg.Dial {
			if len(n.links) >= s.cfg.Dial || len(s.ready) == 0 {
				break
			}
			s.tryConnect(n, s.ready[s.rng.IntN(len(s.ready))])
		}
		s.after(searchEvery, event{kind: evSearch, a: n.id, b: n.life})
	}
}

// tryConnect connects two nodes if that can be.
func (s *network) tryConnect(n, o *node) {
	if o == n || !o.running || len(n.links) >= n.maxConns || len(o.links) >= o.maxConns || n.knows(o) {
		return
	}
	if n.pick.Done() && o.pick.Done() && !(s.seed(n) && s.seed(o)) {
		return // of several seeds each wants to know of the others
	}
	s.connect(n, o)
}

func (n *node) knows(o *node) bool {
	return slices.ContainsFunc(n.links, func(l *link) bool { return l.to == o })
}

// connect makes a connection, and has both ends say what they have.
func (s *network) connect(a, b *node) {
	la, lb := s.link(a, b), s.link(b, a)
	la.back, lb.back = lb, la
	for _, l := range []*link{la, lb} {
		l.pe = l.from.pick.Add(l, maxRequests, s.now)
		l.greet()
	}
	a.settle()
	b.settle()
}

func (s *network) link(from, to *node) *link {
	l := &link{id: int32(len(s.links)), from: from, to: to, burst: picker.BlockSize, lowat: s.cfg.Lowat}
	l.turn.Owner = l
	s.links = append(s.links, l)
	from.links = append(from.links, l)
	return l
}

// greet sends what comes first on a connection.
func (l *link) greet() {
	n := l.from
	switch {
	case n.directing || n.pick.Count() == 0:
	case n.pick.Done():
		l.tell(msg{kind: msgHaveAll})
	default:
		for i := range n.net.cfg.Pieces {
			if n.pick.Has(i) {
				l.greeting = append(l.greeting, int32(i))
			}
		}
		l.tell(msg{kind: msgBitfield})
	}
	l.tell(msg{kind: msgHello})
	l.tell(msg{kind: msgUnchoke})
}

// disconnect ends a connection; what is on its way is lost.
func (s *network) disconnect(l *link) {
	for _, e := range []*link{l, l.back} {
		if e.dead {
			continue
		}
		e.dead = true
		n := e.from
		n.links = slices.DeleteFunc(n.links, func(o *link) bool { return o == e })
		if e.asked {
			n.line.Leave(&e.turn, s.now)
			e.asked = false
		}
		e.queue, e.list, e.control, e.sock, e.flight = nil, nil, nil, fifo[item]{}, fifo[item]{}
		if n.running {
			n.pick.Remove(e.pe)
			n.grant()
			n.settle()
		}
	}
}

// run is what one connection to a mirror fetches: n pieces from next on.
type run struct{ next, n int }

// runPieces is how many pieces are claimed at a time.
const runPieces = 16

// fetch begins as many runs as there are connections to mirrors.
func (s *network) fetch(n *node) {
	s.runs = make([]run, s.cfg.Fetching)
	for i := range s.runs {
		s.claim(n, i)
	}
}

// claim has a connection go on with the next run.
func (s *network) claim(n *node, i int) {
	r := &s.runs[i]
	if r.n == 0 {
		r.next, r.n, _ = n.pick.Claim(runPieces, s.now)
	}
	if r.n == 0 {
		return
	}
	each := seconds(float64(s.cfg.PieceLength) / n.cable.down * float64(s.cfg.Fetching))
	s.after(each, event{kind: evFetched, a: n.id, b: int32(r.next), c: int32(i)})
	r.next++
	r.n--
}

// fetched is called when a mirror has brought a piece.
func (s *network) fetched(n *node, piece, i int) {
	s.claim(n, i)
	n.stored(piece)
}
