package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/serve"
)

// network is a swarm under way.
type network struct {
	cfg    Config
	now    time.Duration
	seq    uint64
	events queue
	rng    *rand.Rand
	nodes  []*node // the seeds first
	links  []*link
	ready  []*node // those that run
	mesh   bool
	verify time.Duration // from a whole piece to a stored one
	left   int           // leaves that are not done and will be
	spare  [][]msg
	count  int64 // events handled
	// refused is how many requests could not be answered.
	refused int
	runs    []run // what the mirrors of the first seed bring, one each
}

func newNetwork(cfg Config) *network {
	cfg.setDefaults()
	s := &network{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), mesh: len(cfg.Seeds)+len(cfg.Leaves) <= cfg.Mesh,
		verify: 200*time.Microsecond + time.Duration(cfg.PieceLength), // 1 GB/s
	}
	add := func(h Host, seed bool, conns int) {
		n := &node{net: s, id: int32(len(s.nodes)), host: h, maxConns: conns, directing: seed && cfg.Without&picker.Directing == 0}
		n.cable.up, n.cable.down = h.Up, h.Down
		s.nodes = append(s.nodes, n)
		s.at(h.Start, event{kind: evJoin, a: n.id})
		if h.Die > 0 {
			s.at(h.Die, event{kind: evDie, a: n.id})
		}
		if !seed && (h.Die == 0 || h.Away > 0) {
			s.left++
		}
	}
	for _, h := range cfg.Seeds {
		add(h, true, cfg.SeedConns)
	}
	for _, h := range cfg.Leaves {
		add(h, false, cfg.LeafConns)
	}
	return s
}

func (s *network) seed(n *node) bool { return int(n.id) < len(s.cfg.Seeds) }

// seedID is a seed's random name, by which seeds split the pieces.
func (s *network) seedID(n *node) uint64 {
	return (uint64(n.id) + 1 + s.cfg.Seed<<20) * 0x9e3779b97f4a7c15
}

func (s *network) at(t time.Duration, e event) {
	s.seq++
	e.at, e.seq = t, s.seq
	s.events.push(e)
}

func (s *network) after(d time.Duration, e event) { s.at(s.now+d, e) }

// run goes on until every leaf has everything, or the time is up.
func (s *network) run() {
	for s.left > 0 && len(s.events) > 0 {
		e := s.events.pop()
		if e.at > s.cfg.Limit {
			return
		}
		s.now = e.at
		s.count++
		s.handle(e)
	}
}

func (s *network) handle(e event) {
	if e.kind == evArrive {
		l := s.links[e.a]
		l.to.arrived(int(e.c))
		if !l.dead {
			l.to.take(l, int(e.b))
		}
		return
	}
	n := s.nodes[e.a]
	switch e.kind {
	case evJoin:
		s.join(n)
	case evSent:
		n.sent()
		s.watchSeeds(n)
	case evStored:
		if n.running && n.life == e.c {
			n.stored(int(e.b))
		}
	case evTick, evDue, evSearch:
		if n.running && n.life == e.b {
			n.timer(e.kind)
		}
	case evPoke:
		n.lookAround()
	case evDie:
		s.die(n)
	case evFetched:
		if n.running {
			s.fetched(n, int(e.b), int(e.c))
		}
	}
}

// join has a node come up and connect.
func (s *network) join(n *node) {
	had := n.pick
	n.running, n.full = true, false
	n.life++
	n.line = serve.NewLine(s.cfg.Slots)
	n.line.InOrder = s.cfg.InOrder
	n.room, n.due = 0, 0
	have := func(i int) bool { return had != nil && had.Has(i) }
	if s.seed(n) && (s.cfg.Fetching == 0 || n.id > 0) {
		have = func(int) bool { return true }
	}
	n.pick = picker.New(picker.Config{
		Pieces: s.cfg.Pieces, PieceLength: s.cfg.PieceLength, LastLength: s.cfg.PieceLength, Have: have, Grow: n.grow,
		Directing: n.directing, ID: s.seedID(n), Without: s.cfg.Without, Seed: s.rng.Uint64(),
	})
	s.search(n)
	s.ready = append(s.ready, n)
	s.after(time.Duration(s.rng.Int64N(int64(100*time.Millisecond))), event{kind: evTick, a: n.id, b: n.life})
	if n.id == 0 && s.cfg.Fetching > 0 {
		s.fetch(n)
	}
}

// finished counts a leaf that has everything.
func (s *network) finished(n *node) {
	if !s.seed(n) {
		s.left--
	}
}

// die takes a node down; its peers notice at once, as when a process is killed.
func (s *network) die(n *node) {
	if !n.running || n.pick.Done() && !s.seed(n) {
		return
	}
	n.running = false
	s.ready = slices.DeleteFunc(s.ready, func(o *node) bool { return o == n })
	for _, l := range slices.Clone(n.links) {
		s.disconnect(l)
	}
	if n.host.Away > 0 {
		s.after(n.host.Away, event{kind: evJoin, a: n.id})
	}
}

// watchSeeds takes the last seed down when it is time.
func (s *network) watchSeeds(n *node) {
	if s.cfg.LastSeedDies == 0 || !s.seed(n) {
		return
	}
	sent := int64(0)
	for i := range s.cfg.Seeds {
		sent += s.nodes[i].payload
	}
	if float64(sent) >= s.cfg.LastSeedDies*float64(s.cfg.Size()) {
		s.die(s.nodes[len(s.cfg.Seeds)-1])
	}
}

// messages is a list for messages that are to be written.
func (s *network) messages() []msg {
	if len(s.spare) == 0 {
		return make([]msg, 0, 4)
	}
	m := s.spare[len(s.spare)-1]
	s.spare = s.spare[:len(s.spare)-1]
	return m[:0]
}

func (s *network) recycle(m []msg) { s.spare = append(s.spare, m) }

// packet makes an item of messages.
func (s *network) packet(msgs []msg) item {
	it := item{msgs: msgs, wire: packetHeader}
	for _, m := range msgs {
		it.wire += m.size(s.cfg.Pieces)
	}
	return it
}
