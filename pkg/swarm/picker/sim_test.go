package picker

import (
	"container/heap"
	"fmt"
	"testing"
	"time"
)

// simNet is a modelled network in virtual time: each node has an uplink that
// sends one block at a time, taking its links in turn, a delay, and a downlink
// that receives one block at a time. Control messages take only the delay.
type simNet struct {
	now    time.Duration
	events simHeap
	seq    int
	delay  time.Duration
	nodes  []*simNode
	sent   int // bytes that the seed put on its uplink
}

type simEvent struct {
	at  time.Duration
	seq int
	f   func()
}

type simHeap []simEvent

func (h simHeap) Len() int { return len(h) }
func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

func (s *simNet) at(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.events, simEvent{s.now + d, s.seq, f})
}

func (s *simNet) run(limit time.Duration) {
	for len(s.events) > 0 && s.now < limit {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.f()
	}
}

type simNode struct {
	net      *simNet
	name     string
	up, down float64 // bytes a second
	pick     *Picker
	links    []*simLink
	turn     int
	sending  bool
	downFree time.Duration
	done     time.Duration
	start    time.Duration
	dead     bool
}

// simLink is one end of a connection.
type simLink struct {
	from, to *simNode
	back     *simLink
	pe       *Peer // the other end, as from sees it
	queue    []Request
}

func (s *simNet) node(name string, up, down float64, cfg Config) *simNode {
	n := &simNode{net: s, name: name, up: up, down: down, pick: New(cfg)}
	s.nodes = append(s.nodes, n)
	return n
}

func (s *simNet) connect(a, b *simNode) {
	la, lb := &simLink{from: a, to: b}, &simLink{from: b, to: a}
	la.back, lb.back = lb, la
	for _, l := range []*simLink{la, lb} {
		l.from.links = append(l.from.links, l)
		l.pe = l.from.pick.Add(l, 500, s.now)
		l.from.pick.SetChoked(l.pe, false)
	}
	for _, l := range []*simLink{la, lb} {
		if l.from.pick.dir == nil {
			for i := range l.from.pick.cfg.Pieces {
				if l.from.pick.Has(i) {
					l.back.from.pick.SetHave(l.back.pe, i, s.now)
				}
			}
		}
	}
	for _, l := range []*simLink{la, lb} {
		l.reveal()
		l.ask()
	}
}

func (s *simNet) cut(n *simNode) {
	n.dead = true
	for _, l := range n.links {
		l.to.pick.Remove(l.back.pe)
		l.back.queue = nil
		l.to.links = deleteLink(l.to.links, l.back)
	}
	for _, l := range n.links {
		l.to.askAll()
	}
	n.links = nil
}

func deleteLink(ls []*simLink, x *simLink) (out []*simLink) {
	for _, l := range ls {
		if l != x {
			out = append(out, l)
		}
	}
	return out
}

func (l *simLink) reveal() {
	for _, i := range l.from.pick.Reveals(l.pe, l.from.net.now, nil) {
		l.have(i)
	}
}

// have sends HAVE to the other end.
func (l *simLink) have(i int) {
	l.from.net.at(l.from.net.delay, func() {
		o := l.back
		if o.from.dead || l.from.dead {
			return
		}
		o.from.pick.SetHave(o.pe, i, o.from.net.now)
		o.reveal()
		o.ask()
	})
}

func (l *simLink) ask() {
	n := l.from
	reqs, _ := n.pick.Requests(l.pe, n.net.now, 1<<20, nil)
	if len(reqs) == 0 {
		return
	}
	n.net.at(n.net.delay, func() {
		if l.to.dead || n.dead {
			return
		}
		l.back.queue = append(l.back.queue, reqs...)
		l.to.send()
	})
}

func (n *simNode) askAll() {
	for _, l := range n.links {
		l.ask()
	}
}

func (n *simNode) send() {
	if n.sending || n.dead {
		return
	}
	for k := range n.links {
		l := n.links[(n.turn+k)%len(n.links)]
		if len(l.queue) == 0 {
			continue
		}
		n.turn = (n.turn + k + 1) % len(n.links)
		r := l.queue[0]
		l.queue = l.queue[1:]
		n.sending = true
		if n.name == "seed" {
			n.net.sent += r.Length
		}
		n.net.at(seconds(float64(r.Length)/n.up), func() {
			n.sending = false
			n.net.at(n.net.delay, func() { l.arrive(r) })
			n.send()
		})
		return
	}
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// arrive queues the block for the receiver's downlink.
func (l *simLink) arrive(r Request) {
	n := l.to
	n.downFree = max(n.downFree, n.net.now) + seconds(float64(r.Length)/n.down)
	n.net.at(n.downFree-n.net.now, func() {
		if !n.dead && !l.from.dead {
			n.receive(l.back, r)
		}
	})
}

func (n *simNode) receive(l *simLink, r Request) {
	v, cancels := n.pick.Block(l.pe, r, n.net.now)
	n.cancel(cancels)
	if v == Whole {
		n.cancel(n.pick.Got(r.Piece))
		if n.pick.Done() {
			n.done = n.net.now
		}
		for _, o := range n.links {
			if n.pick.dir == nil {
				o.have(r.Piece)
			} else {
				o.reveal()
			}
		}
		if n.pick.Endgame() {
			n.askAll()
		}
	}
	l.ask()
}

func (n *simNode) cancel(cs []Cancel) {
	for _, c := range cs {
		l := c.Peer.Owner.(*simLink)
		n.net.at(n.net.delay, func() {
			for i, q := range l.back.queue {
				if q == c.Request {
					l.back.queue = append(l.back.queue[:i], l.back.queue[i+1:]...)
					return
				}
			}
		})
	}
}

// tick plays the engine's timer.
func (n *simNode) tick() {
	if n.dead || n.pick.Done() {
		return
	}
	n.pick.Tick(n.net.now)
	n.askAll()
	n.net.at(100*time.Millisecond, n.tick)
}

type simRun struct {
	leaves, pieces int
	pieceLength    int64
	rate           float64 // bytes a second, all links
	slow           int     // leaves with a quarter of it
	late           int     // leaves that start when the others are half done
	fetching       bool    // the seed itself gets the pieces one by one at the rate
	die            int     // leaves that die half-way
}

func (r simRun) ideal() time.Duration {
	return seconds(float64(int64(r.pieces)*r.pieceLength) / r.rate)
}

func (r simRun) run(t testing.TB) (*simNet, []*simNode) {
	s := &simNet{delay: 500 * time.Microsecond}
	cfg := Config{Pieces: r.pieces, PieceLength: r.pieceLength, LastLength: r.pieceLength}
	sc := cfg
	sc.Directing = true
	if !r.fetching {
		sc.Have = func(int) bool { return true }
	}
	seed := s.node("seed", r.rate, r.rate, sc)
	var leaves []*simNode
	join := func(n *simNode) {
		for _, o := range s.nodes {
			if o != n && o.start <= s.now && !o.dead {
				s.connect(n, o)
			}
		}
		n.tick()
	}
	for i := range r.leaves {
		lc := cfg
		lc.Seed = uint64(i)
		rate := r.rate
		if i >= r.leaves-r.slow {
			rate /= 4
		}
		n := s.node(fmt.Sprint("leaf", i), rate, rate, lc)
		if i >= r.leaves-r.late {
			n.start = r.ideal() / 2
		} else {
			n.start = time.Duration(i) * 5 * time.Millisecond
		}
		leaves = append(leaves, n)
		s.at(n.start, func() { join(n) })
	}
	for i := range r.die {
		s.at(r.ideal()/2, func() { s.cut(leaves[i]) })
	}
	if r.fetching {
		for i := range r.pieces {
			s.at(seconds(float64(int64(i+1)*r.pieceLength)/r.rate), func() {
				seed.pick.Got(i)
				for _, l := range seed.links {
					l.reveal()
				}
			})
		}
	}
	s.run(20 * r.ideal())
	for i, n := range leaves {
		if i >= r.die && !n.pick.Done() {
			t.Fatalf("leaf %d has %d of %d pieces at %v", i, n.pick.Count(), r.pieces, s.now)
		}
	}
	return s, leaves
}

const mbit50 = 50e6 / 8

func TestSwarmFinishesNearTheBound(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    simRun
		bound  float64 // of the last leaf, times the least time
		copies float64 // that the seed may send
	}{
		{"16 leaves, 64 KiB", simRun{leaves: 16, pieces: 1024, pieceLength: 64 * kib, rate: mbit50}, 1.10, 1.15},
		{"16 leaves, 256 KiB", simRun{leaves: 16, pieces: 256, pieceLength: 256 * kib, rate: mbit50}, 1.20, 1.25},
		{"1 leaf", simRun{leaves: 1, pieces: 256, pieceLength: 64 * kib, rate: mbit50}, 1.02, 1.01},
		{"2 leaves", simRun{leaves: 2, pieces: 256, pieceLength: 64 * kib, rate: mbit50}, 1.10, 1.15},
		{"40 leaves", simRun{leaves: 40, pieces: 1024, pieceLength: 64 * kib, rate: mbit50}, 1.20, 1.25},
		{"seed still fetching", simRun{leaves: 8, pieces: 512, pieceLength: 64 * kib, rate: mbit50, fetching: true}, 1.15, 1.25},
		{"1 leaf at 4 Gbit/s", simRun{leaves: 1, pieces: 4096, pieceLength: 256 * kib, rate: 500e6}, 1.05, 1.01},
		{"3 of 16 die", simRun{leaves: 16, pieces: 512, pieceLength: 64 * kib, rate: mbit50, die: 3}, 1.25, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.run.leaves > 16 {
				t.Skip("takes a while")
			}
			s, leaves := c.run.run(t)
			last := time.Duration(0)
			for _, n := range leaves {
				last = max(last, n.done)
			}
			over := last.Seconds() / c.run.ideal().Seconds()
			copies := float64(s.sent) / float64(int64(c.run.pieces)*c.run.pieceLength)
			t.Logf("last leaf %.3f times the least time, seed sent %.3f copies", over, copies)
			if over > c.bound || copies > c.copies {
				t.Errorf("last leaf at %.3f times the least time (bound %.2f), %.3f copies (bound %.2f)", over, c.bound, copies, c.copies)
			}
		})
	}
}

func TestSwarmLateAndSlowLeaves(t *testing.T) {
	r := simRun{leaves: 16, pieces: 1024, pieceLength: 64 * kib, rate: mbit50, slow: 2}
	_, leaves := r.run(t)
	for i, n := range leaves {
		over := n.done.Seconds() / r.ideal().Seconds()
		if i >= 14 {
			over /= 4
		}
		if over > 1.25 {
			t.Errorf("leaf %d of 16 with 2 slow ones: %.3f times its least time", i, over)
		}
	}
	r = simRun{leaves: 16, pieces: 1024, pieceLength: 64 * kib, rate: mbit50, late: 4}
	_, leaves = r.run(t)
	for i, n := range leaves {
		if over := (n.done - n.start).Seconds() / r.ideal().Seconds(); over > 1.25 {
			t.Errorf("leaf %d of 16 with 4 late ones: %.3f times its least time", i, over)
		}
	}
}

func TestSwarmIsDeterministic(t *testing.T) {
	r := simRun{leaves: 6, pieces: 200, pieceLength: 64 * kib, rate: mbit50, die: 1}
	_, a := r.run(t)
	_, b := r.run(t)
	for i := range a {
		if a[i].done != b[i].done {
			t.Errorf("leaf %d finished at %v and, the same again, at %v", i, a[i].done, b[i].done)
		}
	}
}
