package picker

import (
	"slices"
	"testing"
	"time"
)

// told are the pieces that the actions tell the peer of.
func told(acts []Action, pe *Peer) (pieces []int) {
	for _, a := range acts {
		if a.Kind == Tell && a.Peer == pe {
			pieces = append(pieces, a.Piece)
		}
	}
	return pieces
}

func kinds(acts []Action, pe *Peer) (ks []ActionKind) {
	for _, a := range acts {
		if a.Peer == pe {
			ks = append(ks, a.Kind)
		}
	}
	return ks
}

func TestDecideAsksAndWithdraws(t *testing.T) {
	room := 0
	p := New(Config{Pieces: 1, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize, Grow: func() int { room++; return 1 }})
	a, b := holder(p, 0), holder(p)
	acts := p.Decide(0)
	if got := kinds(acts, a); !slices.Equal(got, []ActionKind{Want, Ask, Ask, Ask, Ask}) || len(kinds(acts, b)) != 0 {
		t.Fatalf("decided %v", acts)
	}
	if again := p.Decide(0); len(again) != 0 || room != 1 {
		t.Errorf("decided %v again, and asked %d times for room", again, room)
	}
	// Elsewhere found: the requests are taken back and the other peer is told.
	p.Stored(0, time.Second)
	acts = p.Decide(time.Second)
	if got := kinds(acts, a); !slices.Equal(got, []ActionKind{Withdraw, Withdraw, Withdraw, Withdraw, Tell}) {
		t.Errorf("after the piece came from elsewhere: %v", acts)
	}
	if p.Shrink() != 1 || p.Room() != 0 {
		t.Errorf("room for %d pieces is left", p.Room())
	}
}

func TestPauseStopsAskingOnly(t *testing.T) {
	p := New(Config{Pieces: 2, PieceLength: BlockSize, LastLength: BlockSize, Grow: func() int { return 2 }})
	pe := holder(p, 0)
	p.Pause(true)
	if got := kinds(p.Decide(0), pe); !slices.Equal(got, []ActionKind{Want}) {
		t.Errorf("while paused: %v", got)
	}
	p.Pause(false)
	if got := kinds(p.Decide(0), pe); !slices.Equal(got, []ActionKind{Ask}) {
		t.Errorf("after the pause: %v", got)
	}
}

func TestNewsWaitsAndGoesTogether(t *testing.T) {
	p := New(Config{Pieces: 10, PieceLength: 64 * kib, LastLength: 64 * kib})
	lacks, has, seed := holder(p), holder(p, 3), holder(p)
	lacks.SetKin()
	has.SetKin()
	p.Exempt(seed, 7)
	p.Decide(0)
	p.Stored(3, time.Second)
	acts := p.Decide(time.Second)
	if got := told(acts, seed); !slices.Equal(got, []int{3}) {
		t.Errorf("a directing seed is told %v at once, want 3", got)
	}
	if len(told(acts, lacks)) != 0 {
		t.Error("news did not wait")
	}
	p.Stored(4, time.Second+time.Millisecond)
	due := p.Due()
	if due <= time.Second || due > time.Second+maxNews {
		t.Fatalf("news is due at %v", due)
	}
	acts = p.Decide(due)
	if got := told(acts, lacks); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("told %v, want both pieces", got)
	}
	if got := told(acts, has); !slices.Equal(got, []int{4}) {
		t.Errorf("a peer that has piece 3 is told %v, want 4 alone", got)
	}
	if p.Due() != 0 {
		t.Error("news is due though all is told")
	}
	// With a request it goes at once.
	p.Stored(5, 2*time.Second)
	p.SetHave(lacks, 8, 2*time.Second)
	p.room = 1
	if got := kinds(p.Decide(2*time.Second), lacks); !slices.Equal(got, []ActionKind{Want, Tell, Ask, Ask, Ask, Ask}) {
		t.Errorf("with a request: %v", got)
	}
}

func TestCompletionIsToldAtOnceToAll(t *testing.T) {
	p := New(Config{Pieces: 2, PieceLength: BlockSize, LastLength: BlockSize})
	kin, stock := holder(p, 0, 1), holder(p, 0, 1)
	kin.SetKin()
	p.Stored(0, time.Second)
	p.Stored(1, time.Second)
	acts := p.Decide(time.Second)
	if got := kinds(acts, kin); !slices.Equal(got, []ActionKind{TellAll}) {
		t.Errorf("kin: %v, want to be told of everything", got)
	}
	if got := told(acts, stock); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("another client is told %v, want each piece", got)
	}
}

func TestLongQueuesAskForSeveralBlocks(t *testing.T) {
	p := New(Config{Pieces: 64, PieceLength: 20 * BlockSize, LastLength: 20 * BlockSize})
	all := make([]int, 64)
	for i := range all {
		all[i] = i
	}
	pe := holder(p, all...)
	pe.rate.Add(50*mib, 0)
	if r := requests(p, pe, 0); r[0].Length != BlockSize {
		t.Errorf("a peer that has not agreed to more is asked for %d bytes at once", r[0].Length)
	}
	fast := holder(p, all...)
	fast.SetUnit(8 * BlockSize)
	fast.rate.Add(50*mib, 0)
	r := requests(p, fast, 0)
	if r[0].Length != 8*BlockSize || r[2].Length != 4*BlockSize || r[2].Begin != 16*BlockSize {
		t.Fatalf("asked for %v, want 8, 8 and the 4 blocks that are left of the piece", r[:3])
	}
	if v := deliver(p, fast, r[:3], 0); v != Whole {
		t.Errorf("verdict %v after all of the piece's blocks", v)
	}
	slow := holder(p, all...)
	slow.SetUnit(8 * BlockSize)
	if r := requests(p, slow, 0); r[0].Length != BlockSize {
		t.Errorf("a peer with a short queue is asked for %d bytes at once", r[0].Length)
	}
}

// A long request is taken back only when somebody else has sent all of it.
func TestLongRequestIsWithdrawnWhenAllOfItCame(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 2 * BlockSize, LastLength: 2 * BlockSize})
	slow, quick := holder(p, 0), holder(p, 0)
	long := p.start(0, slow)
	p.ask(slow, long, 0, 2, 0, nil)
	for b := range 2 {
		r := p.ask(quick, long, b, 1, 0, nil)
		_, cancels := p.Block(quick, r[0], 0)
		if want := b; len(cancels) != want {
			t.Errorf("after block %d of 2: %d requests withdrawn, want %d", b, len(cancels), want)
		}
	}
}

func TestClaimsWhatNobodyHas(t *testing.T) {
	p := New(Config{Pieces: 6, PieceLength: BlockSize, LastLength: BlockSize})
	leaf := holder(p, 0, 1, 4)
	if f, n, _ := p.Claim(10, 0); f != 2 || n != 2 {
		t.Errorf("claimed %d from %d, want the 2 from 2 that no peer has", n, f)
	}
	if f, n, _ := p.Claim(10, 0); f != 5 || n != 1 {
		t.Errorf("claimed %d from %d, want 1 from 5", n, f)
	}
	if f, n, _ := p.Claim(10, 0); f != 0 || n != 2 {
		t.Errorf("claimed %d from %d, want at last the 2 from 0 that a peer has", n, f)
	}
	_ = leaf
}

// Two directing seeds that know each other show different pieces, each its own
// first, and agree on whose is whose.
func TestSeedsSplitThePieces(t *testing.T) {
	const n = 100
	seed := func(id, other uint64) (*Picker, *Peer, *Peer) {
		p := New(Config{Pieces: n, PieceLength: 64 * kib, LastLength: 64 * kib, Directing: true, ID: id, Have: func(int) bool { return true }})
		partner := holder(p)
		p.Exempt(partner, other)
		return p, partner, holder(p)
	}
	show := func(p *Picker, leaf *Peer, k int) (order []int) {
		for len(order) < k {
			for _, i := range p.Reveals(leaf, 0, nil) {
				order = append(order, i)
				p.SetHave(leaf, i, 0)
			}
		}
		return order
	}
	a, partner, la := seed(11, 22)
	b, _, lb := seed(22, 11)
	mine := 0
	for i := range n {
		if !a.dir.foreign(i) {
			mine++
		}
		if a.dir.foreign(i) == b.dir.foreign(i) {
			t.Fatalf("both or none of the seeds have piece %d", i)
		}
	}
	if mine < n/4 || mine > 3*n/4 {
		t.Errorf("%d of %d pieces belong to one of two seeds", mine, n)
	}
	oa, ob := show(a, la, n), show(b, lb, n)
	for k, i := range oa[:mine] {
		if slices.Contains(ob[:n-mine], i) {
			t.Errorf("piece %d is the %dth of one seed and among the first of the other", i, k)
		}
	}
	// When the partner has gone, everything is one's own again.
	a.Remove(partner)
	if a.Partners() != 0 || slices.ContainsFunc(a.dir.keys, func(k int32) bool { return k&1 == 1 }) {
		t.Error("pieces of a seed that left are still taken for its own")
	}
}
