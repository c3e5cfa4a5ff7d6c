package picker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func small(pieces int, have ...int) *Picker {
	return New(Config{Pieces: pieces, PieceLength: 4 * BlockSize, LastLength: BlockSize + 100, Have: func(i int) bool { return slices.Contains(have, i) }})
}

func holder(p *Picker, pieces ...int) *Peer {
	pe := p.Add(nil, 500, 0)
	p.SetChoked(pe, false)
	for _, i := range pieces {
		p.SetHave(pe, i, 0)
	}
	return pe
}

func requests(p *Picker, pe *Peer, now time.Duration) []Request {
	r, _ := p.Requests(pe, now, 1000, nil)
	return r
}

func TestWholePieceFromOnePeer(t *testing.T) {
	p := small(3, 0)
	a, b := holder(p, 1, 2), holder(p, 1, 2)
	ra, rb := requests(p, a, 0), requests(p, b, 0)
	if len(ra) == 0 || len(rb) == 0 || ra[0].Piece == rb[0].Piece {
		t.Fatalf("two peers were asked for %v and %v, want one piece each", ra, rb)
	}
	last := ra
	if rb[0].Piece == 2 {
		last = rb
	}
	if want := []Request{{2, 0, BlockSize}, {2, BlockSize, 100}}; !slices.Equal(last[:2], want) {
		t.Errorf("short last piece is asked for as %v, want %v", last, want)
	}
}

func TestRarestFirst(t *testing.T) {
	p := small(40)
	for range 3 {
		holder(p, 0, 1, 2, 3, 4, 5, 6, 8, 9)
	}
	if r := requests(p, holder(p, 0, 1, 2, 7, 8, 9), 0); r[0].Piece != 7 {
		t.Errorf("asked for piece %d first, want the rarest, 7", r[0].Piece)
	}
}

func TestChokedPeersAreNotAsked(t *testing.T) {
	p := small(4)
	pe := holder(p, 0, 1, 2, 3)
	n := len(requests(p, pe, 0))
	p.SetChoked(pe, true)
	if r := requests(p, pe, 0); len(r) != 0 || pe.Outstanding() != 0 {
		t.Errorf("a choking peer was asked for %v, %d of %d requests are left", r, pe.Outstanding(), n)
	}
	p.AllowFast(pe, 2)
	if r := requests(p, pe, 0); len(r) == 0 || r[0].Piece != 2 {
		t.Errorf("a choking peer was asked for %v, want the allowed piece 2", r)
	}
}

func TestRoomBoundsPieces(t *testing.T) {
	p := small(100)
	var all []int
	for i := range 100 {
		all = append(all, i)
	}
	a := holder(p, all...)
	for range 20 {
		a.rate.Add(10*mib, time.Second)
	}
	r, blocked := p.Requests(a, time.Second, 3, nil)
	if !blocked || p.Active() != 3 || len(r) != 12 {
		t.Errorf("with room for 3 pieces: %d begun, %d blocks, blocked %v", p.Active(), len(r), blocked)
	}
	b := holder(p, all...)
	if r := p.Help(b, 0, nil); len(r) != 0 {
		t.Errorf("helping asked for %v, which has been asked for", r)
	}
	p.Reject(a, Request{r[0].Piece, 0, BlockSize}, time.Second)
	if h := p.Help(b, 0, nil); !slices.Equal(h, []Request{{r[0].Piece, 0, BlockSize}}) {
		t.Errorf("helping asked for %v, want the rejected block", h)
	}
}

// deliver plays the peer's answers and returns the last verdict.
func deliver(p *Picker, pe *Peer, rs []Request, now time.Duration) (v Verdict) {
	for _, r := range rs {
		v, _ = p.Block(pe, r, now)
	}
	return v
}

func TestBadPieceFromOnePeerAndFromSeveral(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize})
	a, b := holder(p, 0), holder(p, 0)
	r := requests(p, a, 0)
	deliver(p, a, r[:2], 0)
	p.SetChoked(a, true)
	rb := requests(p, b, 0)
	if len(rb) != 2 {
		t.Fatalf("the rest of the piece is %v, want 2 blocks", rb)
	}
	if v := deliver(p, b, rb, 0); v != Whole {
		t.Fatalf("last block gives %v", v)
	}
	if from := p.Bad(0); len(from) != 2 {
		t.Errorf("%d peers sent the bad piece, want 2", len(from))
	}
	// Now whole from b, even if it stops in between.
	rb = requests(p, b, 0)
	deliver(p, b, rb[:3], 0)
	p.SetChoked(b, true)
	p.SetChoked(a, false)
	ra := requests(p, a, 0)
	if len(ra) != 4 {
		t.Fatalf("after a mixed bad piece %d blocks are asked of the next peer, want all 4", len(ra))
	}
	deliver(p, a, ra, 0)
	if from := p.Bad(0); len(from) != 1 || from[0] != a {
		t.Errorf("blamed %v, want the one peer that sent it", from)
	}
}

func TestUnwantedBlocks(t *testing.T) {
	p := small(3)
	a := holder(p, 0)
	r := requests(p, a, 0)
	if v, _ := p.Block(a, Request{1, 0, BlockSize}, 0); v != Unwanted {
		t.Error("a block that nobody asked for was kept")
	}
	p.Block(a, r[0], 0)
	if v, _ := p.Block(a, r[0], 0); v != Unwanted {
		t.Error("a block was kept twice")
	}
	cancels := p.Got(0)
	if len(cancels) != 3 || a.Outstanding() != 0 {
		t.Errorf("%d cancels for a piece that came from elsewhere, want 3", len(cancels))
	}
}

func TestSilentPeerLosesItsPieces(t *testing.T) {
	p := small(3)
	a, b := holder(p, 0, 1, 2), holder(p, 0)
	r := requests(p, a, 0)
	if p.Tick(time.Second); a.Snubbed() {
		t.Error("snubbed after a second")
	}
	if !p.Tick(time.Minute) || !a.Snubbed() {
		t.Error("not snubbed after a minute")
	}
	if len(requests(p, a, time.Minute)) != 0 {
		t.Error("a silent peer was asked for more")
	}
	if len(requests(p, b, time.Minute)) == 0 {
		t.Error("another peer was not asked")
	}
	if v, _ := p.Block(a, r[len(r)-1], time.Minute); v == Unwanted || a.Snubbed() {
		t.Error("a late answer was not taken")
	}
}

func TestTailDoublesSlowPeers(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize})
	slow, quick := holder(p, 0), holder(p, 0)
	r := requests(p, slow, 0)
	slow.rate.Add(10*kib, 0)
	slow.rate.Add(10*kib, time.Second)
	quick.rate.Add(5*mib, time.Second)
	d := requests(p, quick, time.Second)
	if len(d) != 4 || d[0] != r[3] {
		t.Fatalf("the quick peer was asked for %v, want all from the end", d)
	}
	if more := requests(p, holder(p, 0), time.Second); len(more) != 0 {
		t.Errorf("a third peer was asked for %v", more)
	}
	_, cancels := p.Block(quick, d[0], time.Second)
	if len(cancels) != 1 || cancels[0].Peer != slow || cancels[0].Request != d[0] {
		t.Errorf("cancels %v, want the slow peer's request", cancels)
	}
}

func TestClaims(t *testing.T) {
	p := small(6, 1)
	a := holder(p, 0)
	requests(p, a, 0)
	if f, n, _ := p.Claim(10, 0); f != 2 || n != 4 {
		t.Fatalf("claimed %d from %d, want 4 from 2", n, f)
	}
	if _, n, _ := p.Claim(10, 0); n != 0 {
		t.Error("claimed what is under way")
	}
	p.Unclaim(4, 100)
	if f, n, _ := p.Claim(1, 0); f != 4 || n != 1 {
		t.Errorf("claimed %d from %d, want 1 from 4", n, f)
	}
	p.Remove(a)
	p.Claim(1, 0)
	if f, n, _ := p.Claim(5, 0); f != 0 || n != 1 || p.Active() != 0 {
		t.Errorf("claimed %d from %d with %d begun, want the abandoned piece", n, f, p.Active())
	}
	// At the end a peer may fetch what a mirror has claimed.
	b := holder(p, 2)
	if r := requests(p, b, 0); len(r) == 0 || r[0].Piece != 2 {
		t.Errorf("asked for %v at the end, want the claimed piece", r)
	}
}

func TestDepthAndPending(t *testing.T) {
	for _, c := range []struct {
		rate float64
		base time.Duration
		want int
	}{
		{0, 0, 64 * kib}, {2e6 / 8, 0, 64 * kib}, {mib, 0, mib/10 + 32*kib}, {10 * mib, 0, mib + 32*kib}, {39 * mib, 0, 2 * mib}, {500 * mib, 0, 2 * mib}, {1000 * mib, 0, 4 * mib}, {20000 * mib, 0, 16 * mib},
		{mib, time.Millisecond, mib/10 + 32*kib}, {mib, 200 * time.Millisecond, mib*2/5 + 32*kib}, {10 * mib, 200 * time.Millisecond, 4 * mib},
	} {
		if got := Depth(c.rate, c.base, 64*kib); got != c.want {
			t.Errorf("Depth(%.0f, %v) = %d, want %d", c.rate, c.base, got, c.want)
		}
	}
	for _, c := range []struct {
		rate   float64
		piece  int64
		leaves int
		want   int
	}{
		{0, 64 * kib, 1, 4}, {0, 256 * kib, 1, 2}, {0, 16 * kib, 1, 16}, {0, 16 * mib, 1, 2}, {100 * mib, 256 * kib, 1, 40},
		{0, 64 * kib, 16, 4}, {0, 64 * kib, 32, 2}, {0, 64 * kib, 300, 1}, {0, 256 * kib, 300, 1}, {100 * mib, 256 * kib, 300, 40},
	} {
		if got := Pending(c.rate, c.piece, c.leaves); got != c.want {
			t.Errorf("Pending(%.0f, %d, %d) = %d, want %d", c.rate, c.piece, c.leaves, got, c.want)
		}
	}
}

func TestRateForgetsAndCountsFirstBlocksInFull(t *testing.T) {
	var r Rate
	for i := range 10 {
		r.Add(100*kib, time.Duration(i)*100*time.Millisecond)
	}
	if got := r.At(time.Second); got < 900*kib || got > 1200*kib {
		t.Errorf("rate %.0f after a second at 1,024,000", got)
	}
	if got := r.At(20 * time.Second); got > kib {
		t.Errorf("rate %.0f long after the last byte", got)
	}
}

// TestDirectorOrder checks the order of pieces by counts against the counts
// themselves, through any history.
func TestDirectorOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 12
		p := New(Config{Pieces: n, PieceLength: 64 * kib, LastLength: 64 * kib, Directing: true})
		var peers []*Peer
		hidden := map[int]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"got": func(t *rapid.T) { p.Got(rapid.IntRange(0, n-1).Draw(t, "piece")) },
			"lost": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "piece")
				p.Lost(i)
				delete(hidden, i)
			},
			"hide": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "piece")
				if p.Hide(i); p.Has(i) {
					hidden[i] = true
				}
			},
			"show": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "piece")
				p.Show(i)
				delete(hidden, i)
			},
			"join": func(*rapid.T) { peers = append(peers, holder(p)) },
			"seed joins": func(t *rapid.T) {
				pe := holder(p)
				p.Exempt(pe, rapid.Uint64().Draw(t, "id"))
				peers = append(peers, pe)
			},
			"have": func(t *rapid.T) {
				if len(peers) > 0 {
					p.SetHave(rapid.SampledFrom(peers).Draw(t, "peer"), rapid.IntRange(0, n-1).Draw(t, "piece"), 0)
				}
			},
			"reveal": func(t *rapid.T) {
				if len(peers) > 0 {
					p.Reveals(rapid.SampledFrom(peers).Draw(t, "peer"), 0, nil)
				}
			},
			"leave": func(t *rapid.T) {
				if len(peers) > 0 {
					i := rapid.IntRange(0, len(peers)-1).Draw(t, "peer")
					p.Remove(peers[i])
					peers = slices.Delete(peers, i, i+1)
				}
			},
			"": func(t *rapid.T) { checkDirector(t, p, peers, len(hidden)) },
		})
	})
}

func checkDirector(t *rapid.T, p *Picker, peers []*Peer, hidden int) {
	d := p.dir
	want := make([]int32, len(d.keys))
	for i := range want {
		for _, pe := range peers {
			if pe.have.has(i) && !pe.view.exempt {
				want[i] += 2
			}
			if _, ok := pe.view.revealed[i]; ok {
				want[i] += 2
			}
		}
		if d.foreign(i) {
			want[i]++
		}
	}
	if !slices.Equal(d.keys, want) {
		t.Fatalf("keys %v, want %v", d.keys, want)
	}
	if len(d.order) != p.Count()-hidden || !slices.IsSortedFunc(d.order, func(a, b int32) int { return int(want[a] - want[b]) }) {
		t.Fatalf("order %v with counts %v and %d pieces", d.order, want, p.Count())
	}
	for i, x := range d.order {
		if d.pos[x] != int32(i) {
			t.Fatalf("piece %d stands at %d, pos says %d", x, i, d.pos[x])
		}
	}
}

func Example() {
	p := New(Config{Pieces: 2, PieceLength: 32 << 10, LastLength: 32 << 10})
	seed := p.Add("seed", 250, 0)
	p.SetChoked(seed, false)
	p.SetHave(seed, 1, 0)
	asked, _ := p.Requests(seed, 0, 10, nil)
	for _, r := range asked {
		v, _ := p.Block(seed, r, time.Millisecond)
		fmt.Println(r.Piece, r.Begin, r.Length, v == Whole)
	}
	p.Got(1)
	fmt.Println(p.Count())
	// Output:
	// 1 0 16384 false
	// 1 16384 16384 true
	// 1
}
