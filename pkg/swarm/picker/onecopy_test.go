package picker

import (
	"slices"
	"testing"
	"time"
)

// seedModel is one of several who fetch the same content from mirrors, each over
// a line of its own, and swap it at once over a fast network.
type seedModel struct {
	p       *Picker
	peers   []*Peer // how it sees the others; nil for itself and the dead
	rate    float64 // pieces a second
	queue   []int   // claimed and not come, in order
	next    time.Duration
	fetched int
	got     int64
	dead    bool
	hangs   bool
}

// zoneModel runs them in virtual time. What one tells the others comes delay
// later.
type zoneModel struct {
	t      *testing.T
	n      int
	delay  time.Duration
	now    time.Duration
	seeds  []*seedModel
	mail   []mailModel
	before func(z *zoneModel)
}

type mailModel struct {
	at       time.Duration
	from, to int
	apply    func(p *Picker, pe *Peer)
}

const modelPiece = 64 * kib

func newZone(t *testing.T, n int, delay time.Duration, rates ...float64) *zoneModel {
	z := &zoneModel{t: t, n: n, delay: delay}
	for i, r := range rates {
		z.seeds = append(z.seeds, &seedModel{rate: r, p: New(Config{
			Pieces: n, PieceLength: modelPiece, LastLength: modelPiece, Directing: true, ID: uint64(1000 + 77*i), OneCopy: true, Contended: true,
		})})
	}
	for i, s := range z.seeds {
		s.peers = make([]*Peer, len(rates))
		for k := range rates {
			if k == i {
				continue
			}
			pe := s.p.Add(nil, 500, 0)
			s.p.SetChoked(pe, false)
			s.p.Exempt(pe, uint64(1000+77*k))
			s.p.Fetches(pe, uint64(1000+77*k), 0)
			s.peers[k] = pe
		}
	}
	return z
}

func (z *zoneModel) tell(from int, apply func(p *Picker, pe *Peer)) {
	for to := range z.seeds {
		if to != from {
			z.mail = append(z.mail, mailModel{z.now + z.delay, from, to, apply})
		}
	}
}

func (z *zoneModel) kill(i int) {
	z.seeds[i].dead = true
	for k, s := range z.seeds {
		if k != i && s.peers[i] != nil {
			s.p.Remove(s.peers[i])
			s.peers[i] = nil
		}
	}
}

// step is one millisecond.
func (z *zoneModel) step() {
	z.now += time.Millisecond
	var later []mailModel
	mail := z.mail
	z.mail = nil
	for _, m := range mail {
		pe := z.seeds[m.to].peers[m.from]
		switch {
		case m.at > z.now || z.seeds[m.to].hangs:
			later = append(later, m)
		case pe != nil && !z.seeds[m.to].dead:
			m.apply(z.seeds[m.to].p, pe)
		}
	}
	z.mail = append(later, z.mail...)
	for i, s := range z.seeds {
		if !s.dead && !s.hangs {
			z.fetch(i, s)
		}
	}
}

func (z *zoneModel) fetch(i int, s *seedModel) {
	for _, y := range s.p.Yielded() {
		if k := slices.Index(s.queue, y); k > int(s.rate/5) { // the first are asked for already
			s.queue = slices.Delete(s.queue, k, k+1)
			s.p.Unclaim(y, 1)
			z.tell(i, func(p *Picker, pe *Peer) { p.TheyUnclaim(pe, y, 1) })
		}
	}
	// Sixteen connections have about a second of the line's rate claimed, and
	// less towards the end.
	left := int(s.p.Share(z.now)/modelPiece) - len(s.queue)
	ahead := max(16, min(int(s.rate), left))
	for len(s.queue) < ahead && !s.p.Done() {
		first, n, taken := s.p.Claim(max(1, ahead/16), z.now)
		if n == 0 {
			break
		}
		if len(s.queue) == 0 {
			s.next = max(s.next, z.now)
		}
		for k := range n {
			s.queue = append(s.queue, first+k)
		}
		z.tell(i, func(p *Picker, pe *Peer) { p.TheyClaim(pe, first, n, taken, z.now) })
	}
	for len(s.queue) > 0 && z.now >= s.next {
		s.next += time.Duration(float64(time.Second) / s.rate)
		piece := s.queue[0]
		s.queue = s.queue[1:]
		s.fetched++
		s.got += modelPiece
		s.p.Received(s.got, z.now)
		s.p.Stored(piece, z.now)
		got := s.got
		z.tell(i, func(p *Picker, pe *Peer) {
			p.SetHave(pe, piece, z.now)
			p.TheyReceived(pe, got, z.now)
			p.Stored(piece, z.now) // the network between them is fast
		})
	}
	s.p.Tick(z.now)
}

// run steps until all who live have everything, and returns the copies that came
// over all lines together and how long it took.
func (z *zoneModel) run() (copies float64, took time.Duration) {
	for {
		if z.before != nil {
			z.before(z)
		}
		z.step()
		done, fetched := true, 0
		for _, s := range z.seeds {
			fetched += s.fetched
			done = done && (s.dead || s.hangs || s.p.Done())
		}
		if done {
			return float64(fetched) / float64(z.n), z.now
		}
		if z.now > 10*time.Minute {
			z.t.Fatalf("not done after %v: %d pieces fetched of %d", z.now, fetched, z.n)
		}
	}
}

func (z *zoneModel) count() (n int) {
	for _, s := range z.seeds {
		n = max(n, s.p.Count())
	}
	return n
}

// check fails when more copies came, or it took longer, than given.
func check(t *testing.T, what string, z *zoneModel, copies float64, atMost time.Duration) {
	t.Helper()
	c, took := z.run()
	t.Logf("%s: %.3f copies in %v", what, c, took)
	if c > copies || took > atMost {
		t.Errorf("%s: %.3f copies in %v, want at most %.3f in %v", what, c, took, copies, atMost)
	}
}

// Seeds of one datacenter fetch one copy together, in a time that is shorter by
// their number, whatever their lines carry.
func TestSeedsShareOneCopy(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		check(t, "alone", newZone(t, 1024, delay, 100), 1, 10300*time.Millisecond)
		check(t, "two", newZone(t, 1024, delay, 100, 100), 1.02, 5500*time.Millisecond)
		check(t, "three", newZone(t, 1024, delay, 100, 100, 100), 1.03, 3800*time.Millisecond)
		check(t, "of different speed", newZone(t, 1024, delay, 30, 270), 1.03, 4*time.Second)
		check(t, "two, fast", newZone(t, 1024, delay, 400, 400), 1.03, 1700*time.Millisecond)
		check(t, "three, fast", newZone(t, 1024, delay, 400, 400, 400), 1.03, 1300*time.Millisecond)
		check(t, "two, fast, large", newZone(t, 4096, delay, 400, 400), 1.02, 5700*time.Millisecond)
	}
}

// One that dies, hangs or becomes slow is helped within seconds, and what came
// of it does not come again.
func TestSeedsTakeOver(t *testing.T) {
	for _, percent := range []int{30, 60, 90} {
		at := func(do func(z *zoneModel)) *zoneModel {
			z := newZone(t, 1024, time.Millisecond, 100, 100)
			z.before = func(z *zoneModel) {
				if z.count() >= z.n*percent/100 {
					do(z)
					z.before = nil
				}
			}
			return z
		}
		left := time.Duration(100-percent) * 1024 / 100 * 10 * time.Millisecond
		whole := time.Duration(percent) * 1024 / 100 * 5 * time.Millisecond
		check(t, "one dies", at(func(z *zoneModel) { z.kill(0) }), 1.02, whole+left+300*time.Millisecond)
		check(t, "one hangs", at(func(z *zoneModel) { z.seeds[0].hangs = true }), 1.02, whole+left+3*time.Second)
		check(t, "one becomes slow", at(func(z *zoneModel) { z.seeds[0].rate = 2 }), 1.03, whole+left+5*time.Second)
	}
	// Two who could help do not both.
	for what, do := range map[string]func(s *seedModel){
		"of three one hangs":        func(s *seedModel) { s.hangs = true },
		"of three one becomes slow": func(s *seedModel) { s.rate = 10 },
	} {
		z := newZone(t, 1024, 20*time.Millisecond, 100, 100, 100)
		z.before = func(z *zoneModel) {
			if z.count() >= z.n/2 {
				do(z.seeds[0])
				z.before = nil
			}
		}
		check(t, what, z, 1.03, 8*time.Second)
	}
	z := newZone(t, 1024, time.Millisecond, 100, 100, 100)
	z.before = func(z *zoneModel) {
		switch n := z.count(); {
		case n > 300 && n < 600:
			z.seeds[2].hangs = true
		case n >= 600:
			z.seeds[2].hangs = false
		}
	}
	check(t, "one hangs and comes back", z, 1.03, 6*time.Second)
}

// What peers have is left to them while they bring it, and fetched when they do
// not.
func TestPeersBringWhatTheyHave(t *testing.T) {
	p := New(Config{Pieces: 8, PieceLength: modelPiece, LastLength: modelPiece, OneCopy: true})
	leaf := holder(p, 0, 1, 4)
	claims := func(first, n int, at time.Duration) {
		t.Helper()
		if f, k, _ := p.Claim(10, at); f != first && k > 0 || k != n {
			t.Errorf("at %v: claimed %d from %d, want %d from %d", at, k, f, n, first)
		}
	}
	claims(2, 2, 0)
	claims(5, 3, 0)
	claims(0, 0, 0)
	p.Received(1<<20, time.Second)
	p.Received(2<<20, 1100*time.Millisecond)
	// It is asked, and answers: even slowly, as long as it is not hopeless.
	now := time.Duration(0)
	for range 20 {
		now += 200 * time.Millisecond
		for _, r := range requests(p, leaf, now) {
			p.Block(leaf, r, now)
		}
		p.Tick(now)
		if p.Has(0) || len(p.active) == 0 {
			break
		}
		claims(0, 0, now)
	}
	// Another one has everything and is silent: after a while it does not count.
	q := New(Config{Pieces: 4, PieceLength: modelPiece, LastLength: modelPiece, OneCopy: true})
	liar := holder(q, 0, 1, 2, 3)
	requests(q, liar, 0)
	if _, n, _ := q.Claim(10, time.Second); n != 0 {
		t.Error("claimed what a newcomer has")
	}
	at := 2 * time.Second
	for ; at < time.Minute; at += 100 * time.Millisecond {
		if q.Tick(at) {
			if _, n, _ := q.Claim(10, at); n > 0 {
				break
			}
		}
	}
	if at > 10*time.Second {
		t.Errorf("pieces of a peer that does not answer are claimed after %v only", at)
	}
}
