package picker

import (
	"testing"
	"time"
)

// directing is a seed with everything, and so many leaves that have been shown
// their first pieces.
func directing(pieces, leaves int) (p *Picker, pes []*Peer, shown [][]int) {
	p = New(Config{Pieces: pieces, PieceLength: 64 * kib, LastLength: 64 * kib, Directing: true, Have: func(int) bool { return true }})
	for range leaves {
		pes = append(pes, p.Add(nil, 500, 0))
		shown = append(shown, nil)
	}
	for i, pe := range pes {
		shown[i] = p.Reveals(pe, 0, nil)
	}
	return p, pes, shown
}

// While the seed's line is busy with first copies, a leaf that has got a piece is
// not shown one that another leaf is to bring.
func TestNothingElseIsShownWhileFirstCopiesGoOut(t *testing.T) {
	p, pes, shown := directing(16, 4) // all pieces are shown, four to each
	now := 10 * time.Millisecond
	for n, i := range shown[0] {
		p.SetHave(pes[0], i, now)
		more := p.Reveals(pes[0], now, nil)
		if under := 15 - n; under >= enoughFirsts && len(more) > 0 {
			t.Errorf("shown %v while %d pieces were on their first way out", more, under)
		}
	}
	p.SetHave(pes[1], shown[1][0], now)
	if more := p.Reveals(pes[0], now, nil); len(more) == 0 {
		t.Error("nothing is shown although the seed's line has room")
	}
}

// Leaves that do not fetch what they were shown hold up the others for a moment
// only, and nobody has to notice that they hang.
func TestFirstCopiesThatDoNotComeAreShownToOthers(t *testing.T) {
	p, pes, shown := directing(20, 5)
	for _, i := range shown[0] {
		p.SetHave(pes[0], i, 0)
	}
	if more := p.Reveals(pes[0], 0, nil); len(more) > 0 {
		t.Fatalf("shown %v while 16 pieces were on their first way out", more)
	}
	p.Decide(0)
	p.Tick(firstsPatience - 1)
	if acts := p.Decide(firstsPatience - 1); len(acts) > 0 {
		t.Fatalf("%d actions before its time", len(acts))
	}
	p.Tick(firstsPatience)
	told := 0
	for _, a := range p.Decide(firstsPatience) {
		if a.Kind == Tell && a.Peer == pes[0] {
			told++
		}
	}
	if told == 0 {
		t.Error("the leaf is shown nothing although no first copy has come for long")
	}
}

// Of a leaf that leaves, nothing stays on its way.
func TestLeafThatLeavesHoldsNoFirstCopies(t *testing.T) {
	p, pes, shown := directing(16, 4)
	for _, pe := range pes[1:3] {
		p.Remove(pe)
	}
	if n := p.dir.firsts.n; n != len(shown[0])+len(shown[3]) {
		t.Errorf("%d pieces are on their first way out, want those of two leaves", n)
	}
}
