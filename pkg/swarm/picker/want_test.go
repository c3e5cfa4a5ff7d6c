package picker

import "testing"

// Of pieces that are not wanted none is asked for or claimed, and a peer that has
// nothing else is of no interest. What is there of them is served.
func TestOnlyWantedPiecesAreAskedFor(t *testing.T) {
	want := func(i int) bool { return i == 1 || i == 2 }
	p := New(Config{Pieces: 5, PieceLength: BlockSize, LastLength: BlockSize, Have: func(i int) bool { return i == 4 }, Want: want, Grow: func() int { return 10 }})
	pe := p.Add(nil, 100, 0)
	p.SetChoked(pe, false)
	p.SetHave(pe, 0, 0)
	p.SetHave(pe, 3, 0)
	if pe.Interesting() || len(asked(p)) != 0 {
		t.Error("a peer with nothing that is wanted is asked for something")
	}
	for i := range 5 {
		p.SetHave(pe, i, 0)
	}
	got := asked(p)
	if !pe.Interesting() || len(got) != 2 || !got[1] || !got[2] {
		t.Errorf("asked for %v, want 1 and 2", got)
	}
	if first, n, _ := p.Claim(5, 0); n != 0 {
		t.Errorf("claimed %d pieces from %d on", n, first)
	}
	for i := range got {
		if p.Done() {
			t.Error("done before all that is wanted is there")
		}
		p.Got(i)
	}
	if !p.Done() || p.Complete() || pe.Interesting() || p.Count() != 3 {
		t.Errorf("done %v, complete %v, interesting %v, %d pieces", p.Done(), p.Complete(), pe.Interesting(), p.Count())
	}
	p.Lost(4)
	if !p.Done() || len(asked(p)) != 0 {
		t.Error("a piece that is not wanted is fetched again when it is lost")
	}
	p.Lost(1)
	if p.Done() || !asked(p)[1] {
		t.Error("a wanted piece that is lost is not fetched again")
	}
}

// asked are the pieces that Decide asks for.
func asked(p *Picker) map[int]bool {
	p.MarkAll()
	out := map[int]bool{}
	for _, a := range p.Decide(0) {
		if a.Kind == Ask {
			out[a.Request.Piece] = true
		}
	}
	return out
}
