package picker

import (
	"testing"
	"time"
)

func crowdOf(n int) (*Picker, []*Peer) {
	p := New(Config{Pieces: 4000, PieceLength: 64 * kib, LastLength: 64 * kib, Directing: true, Have: func(int) bool { return true }})
	leaves := make([]*Peer, n)
	for i := range leaves {
		leaves[i] = holder(p)
	}
	return p, leaves
}

// shownTo are the leaves that were shown something, in order.
func shownTo(p *Picker, now time.Duration) (leaves []*Peer) {
	for _, a := range p.Decide(now) {
		if a.Kind == Tell {
			leaves = append(leaves, a.Peer)
		}
	}
	return leaves
}

func TestFewPiecesAreShownToMany(t *testing.T) {
	p, leaves := crowdOf(200)
	first := shownTo(p, 0)
	if len(first) != manyShown {
		t.Fatalf("%d pieces are shown to 200 leaves at first, want %d", len(first), manyShown)
	}
	// Each piece that arrives makes place for the leaf that waits longest.
	now := time.Duration(0)
	for i, leaf := range first[:100-manyShown] {
		now += 10 * time.Millisecond
		for piece := range leaf.view.revealed {
			p.SetHave(leaf, piece, now)
			break
		}
		if got := shownTo(p, now); len(got) != 1 || got[0] != leaves[manyShown+i] {
			t.Fatalf("after %d arrivals %d leaves are shown something, want the next in line", i+1, len(got))
		}
	}
	// Those that hold what is shown hang: the others go on without them.
	now += time.Second
	p.Tick(now)
	rest := shownTo(p, now)
	if len(rest) < len(leaves)-100 {
		t.Errorf("%d leaves are shown something after a second without an arrival", len(rest))
	}
	// One that leaves gives its place back.
	before := p.dir.crowd.shown
	held := len(first[len(first)-1].view.revealed)
	if p.Remove(first[len(first)-1]); p.dir.crowd.shown != before-held {
		t.Errorf("%d reveals are counted after a leaf with %d of %d left", p.dir.crowd.shown, held, before)
	}
}

// Leaves that went away while they stood in line must not use up the places of
// those behind them.
func TestLineSkipsWhoHasLeft(t *testing.T) {
	p, leaves := crowdOf(manyShown + 10)
	first := shownTo(p, 0)
	for _, gone := range leaves[manyShown : manyShown+9] {
		p.Remove(gone)
	}
	shownTo(p, 0) // Remove has everybody looked at: nobody finds a place
	for piece := range first[0].view.revealed {
		p.SetHave(first[0], piece, time.Millisecond)
	}
	if got := shownTo(p, time.Millisecond); len(got) != 1 || got[0] != leaves[manyShown+9] {
		t.Errorf("%d leaves are shown something, want the only one that still waits", len(got))
	}
}

func TestFewLeavesAreNotHeldUp(t *testing.T) {
	p, leaves := crowdOf(fewLeaves)
	for _, l := range leaves {
		l.view.rate.Add(100*mib, 0) // takes more than a share
	}
	if got := len(shownTo(p, 0)); got <= 2*manyShown {
		t.Errorf("%d pieces are shown to %d fast leaves", got, fewLeaves)
	}
}
