package picker

import (
	"slices"
	"testing"
	"time"
)

// A peer that was silent for a while, as when its cable was unplugged, still
// has our requests. Asking again would bring every block twice.
func TestPeerThatComesBackIsNotAskedTwice(t *testing.T) {
	p := New(Config{Pieces: 8, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize})
	pe := holder(p, 0, 1, 2, 3, 4, 5, 6, 7)
	first := requests(p, pe, 0)
	if !p.Tick(20*time.Second) || !pe.Snubbed() {
		t.Fatal("a silent peer is not noticed")
	}
	seen := map[Request]int{}
	queue := slices.Clone(first)
	for now := 20 * time.Second; len(queue) > 0; now += time.Millisecond {
		r := queue[0]
		queue = queue[1:]
		if seen[r]++; seen[r] > 1 {
			t.Fatalf("block %v came twice", r)
		}
		if v, _ := p.Block(pe, r, now); v == Whole {
			p.Got(r.Piece)
		}
		queue = append(queue, requests(p, pe, now)...)
	}
	if !p.Done() {
		t.Errorf("%d of 8 pieces came", p.Count())
	}
}

// What a silent peer was asked and another was given is asked of the first
// again only if it is not still waiting there.
func TestLostRequestIsTakenUpAgain(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize})
	a, b := holder(p, 0), holder(p, 0)
	ra := requests(p, a, 0)
	p.Tick(20 * time.Second)
	if rb := requests(p, b, 20*time.Second); len(rb) != 4 {
		t.Fatalf("the other peer was asked for %v", rb)
	}
	p.Block(a, ra[0], 21*time.Second)
	p.Remove(b)
	if again := requests(p, a, 21*time.Second); len(again) != 0 {
		t.Errorf("asked again for %v, which it is still to answer", again)
	}
	if v := deliver(p, a, ra[1:], 22*time.Second); v != Whole {
		t.Errorf("verdict %v of the last answer", v)
	}
}

// A request that a peer has forgotten while it answers others must not stay
// for ever.
func TestForgottenRequestIsAskedAgain(t *testing.T) {
	p := New(Config{Pieces: 400, PieceLength: BlockSize, LastLength: BlockSize})
	pe := holder(p)
	for i := range 400 {
		p.SetHave(pe, i, 0)
	}
	queue := requests(p, pe, 0)
	forgotten := queue[0]
	queue = queue[1:]
	for now := time.Second; now < 5*time.Minute; now += time.Second {
		p.Tick(now)
		r := queue[0]
		queue = queue[1:]
		if r == forgotten {
			return
		}
		p.Block(pe, r, now)
		p.Got(r.Piece)
		queue = append(queue, requests(p, pe, now)...)
	}
	t.Errorf("block %v was not asked again in 5 minutes", forgotten)
}

// One piece that a peer cannot read must not keep us from its others, rarest
// or not.
func TestRefusedPieceIsLeftForAWhile(t *testing.T) {
	p := New(Config{Pieces: 50, PieceLength: BlockSize, LastLength: BlockSize})
	seed := holder(p)
	other := holder(p)
	for i := range 50 {
		p.SetHave(seed, i, 0)
		if i != 7 {
			p.SetHave(other, i, 0)
		}
	}
	asked := 0
	for now := time.Duration(0); p.Count() < 49 && now < 10*time.Second; now += 20 * time.Millisecond {
		for _, r := range requests(p, seed, now) {
			if r.Piece == 7 {
				asked++
				p.Reject(seed, r, now)
				continue
			}
			p.Block(seed, r, now)
			p.Got(r.Piece)
		}
	}
	if p.Count() != 49 || asked == 0 || asked > 3 {
		t.Fatalf("%d of the 49 readable pieces in 10 s, the other was asked for %d times", p.Count(), asked)
	}
	if r := requests(p, seed, 20*time.Second); len(r) != 1 || r[0].Piece != 7 {
		t.Errorf("later asked for %v, want piece 7 again", r)
	}
}

// A peer that chokes, lets a piece be asked for nevertheless and refuses it
// must not make us ask as fast as the link goes.
func TestAllowedFastAndRefused(t *testing.T) {
	p := small(4)
	pe := holder(p, 0, 1, 2, 3)
	p.SetChoked(pe, true)
	p.AllowFast(pe, 2)
	asked := 0
	for range 100 {
		for _, r := range requests(p, pe, time.Second) {
			asked++
			p.Reject(pe, r, time.Second)
		}
	}
	if asked == 0 || asked > 4 {
		t.Errorf("asked %d times in one moment for a piece that is refused", asked)
	}
	p.SetChoked(pe, false)
	if len(requests(p, pe, 2*time.Second)) == 0 {
		t.Error("not asked after an unchoke")
	}
}

// Pieces that nobody can go on with must not hold the memory that others need.
func TestStrandedPiecesAreGivenUp(t *testing.T) {
	p := small(8)
	gone := holder(p, 0, 1, 2, 3)
	gone.rate.Add(10*mib, 0)
	requests(p, gone, 0)
	held := p.Active()
	p.Remove(gone)
	stays := holder(p, 0, 4, 5, 6, 7)
	if r, blocked := p.Requests(stays, 0, 0, nil); held != 4 || p.Active() != held || !blocked && len(r) == 0 {
		t.Fatalf("%d pieces begun, %d left, asked for %v, blocked %v", held, p.Active(), r, blocked)
	}
	dropped, _ := p.DropStranded()
	for _, i := range dropped {
		if i == 0 || i > 3 {
			t.Errorf("piece %d was given up, which somebody has", i)
		}
	}
	if p.Active()+len(dropped) != held || len(dropped) != 3 {
		t.Errorf("%v given up of %d begun, %d left", dropped, held, p.Active())
	}
	if again, _ := p.DropStranded(); len(again) != 0 {
		t.Errorf("gave up %v as well", again)
	}
}

// A piece that cannot be read is shown to nobody, and frees the place that it
// had among the reveals.
func TestHiddenPieceFreesReveals(t *testing.T) {
	p := New(Config{Pieces: 6, PieceLength: 256 * kib, LastLength: 256 * kib, Directing: true, Have: func(int) bool { return true }})
	leaf := holder(p)
	shown := p.Reveals(leaf, 0, nil)
	for _, i := range shown {
		p.Hide(i)
	}
	if leaf.Revealed() != 0 {
		t.Errorf("%d pieces that cannot be read hold reveals", leaf.Revealed())
	}
	next := p.Reveals(leaf, 0, nil)
	if len(next) != len(shown) || slices.ContainsFunc(next, func(i int) bool { return slices.Contains(shown, i) }) {
		t.Errorf("shown %v, then %v", shown, next)
	}
	p.Show(shown[0])
	other := holder(p)
	if r := p.Reveals(other, 0, nil); !slices.Contains(r, shown[0]) {
		t.Errorf("another leaf is shown %v, want %d among them, which can be read again", r, shown[0])
	}
}

// A piece that must come whole from one peer is taken from one that only drips.
func TestDrippingPeerLosesASinglePiece(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 64 * BlockSize, LastLength: 64 * BlockSize})
	p.single.set(0)
	drip := holder(p, 0)
	queue := requests(p, drip, 0)
	now := time.Duration(0)
	for range 3 {
		now += 4 * time.Second
		p.Tick(now)
		p.Block(drip, queue[0], now)
		queue = append(queue[1:], requests(p, drip, now)...)
	}
	quick := holder(p, 0)
	asked := requests(p, quick, now)
	for n := 0; len(asked) > 0; n++ {
		now += time.Millisecond
		v, _ := p.Block(quick, asked[0], now)
		asked = append(asked[1:], requests(p, quick, now)...)
		if d, _ := p.Block(drip, queue[0], now); n == 5 && d != Unwanted {
			t.Error("a block of the first peer was mixed in")
		}
		if v == Whole {
			if from := p.Bad(0); n != 63 || len(from) != 1 || from[0] != quick {
				t.Errorf("whole after %d blocks from %d peers", n+1, len(from))
			}
			return
		}
	}
	t.Error("the piece stays with the peer that drips")
}
