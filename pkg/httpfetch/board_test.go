package httpfetch

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"distd/internal/layout"
)

// TestBoardKeepsEveryByte drives a board with any order of what can happen to
// it and checks that each piece is put together once from the right bytes.
func TestBoardKeepsEveryByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieceLength := rapid.Int64Range(1, 100_000).Draw(t, "piece")
		total := rapid.Int64Range(1, 20*pieceLength).Draw(t, "total")
		lay, err := layout.New(pieceLength, []layout.File{{Path: "f", Length: total}})
		if err != nil {
			t.Fatal(err)
		}
		data := content(total)
		b := newBoard(lay)
		missing := map[int]bool{}
		for i := range lay.NumPieces() {
			missing[i] = true
		}
		claimed := map[int]bool{}
		done := map[int]bool{}
		var runs []*run
		pick := func() int { return rapid.IntRange(0, len(runs)-1).Draw(t, "run") }
		read := func(r *run, chunk int) {
			w := b.window(r, chunk)
			if len(w) == 0 {
				return
			}
			at := r.pos
			r.asked = max(r.asked, r.busy) // what comes was asked for
			copy(w, data[at:])
			if p := b.advance(r, rapid.IntRange(0, 1).Draw(t, "mirror"), len(w)); p != nil {
				off := lay.PieceOffset(p.index)
				if done[p.index] || !claimed[p.index] || !bytes.Equal(p.buf, data[off:off+lay.PieceSize(p.index)]) {
					t.Fatalf("piece %d: done %v, claimed %v, or wrong bytes", p.index, done[p.index], claimed[p.index])
				}
				if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
					b.bad(p)
					delete(claimed, p.index)
					missing[p.index] = true
				} else {
					b.good(p)
					done[p.index] = true
				}
				b.drop(p)
			}
		}
		release := func(i int) {
			for _, p := range b.release(runs[i]) {
				if !claimed[p] {
					t.Fatalf("piece %d was given back, but was not claimed", p)
				}
				delete(claimed, p)
				missing[p] = true
			}
			runs = slices.Delete(runs, i, i+1)
		}
		claim := func() {
			for i := range lay.NumPieces() {
				if missing[i] {
					delete(missing, i)
					claimed[i] = true
					b.add(i, 1)
					return
				}
			}
		}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			switch op := rapid.IntRange(0, 6).Draw(t, "op"); {
			case op == 0:
				claim()
			case op == 6:
				i := rapid.IntRange(0, lay.NumPieces()-1).Draw(t, "yield")
				if b.yield(i) {
					if !claimed[i] {
						t.Fatalf("piece %d was given back, but was not claimed", i)
					}
					delete(claimed, i)
					missing[i] = true
				}
			case op == 1:
				if r := b.take(rapid.Int64Range(1, 4*pieceLength).Draw(t, "want")); r != nil {
					runs = append(runs, r)
				}
			case len(runs) == 0:
			case op == 2:
				r := runs[pick()]
				if n := b.split(r, rapid.Int64Range(r.pos, r.end).Draw(t, "cut")); n != nil {
					runs = append(runs, n)
				}
			case op == 3:
				release(pick())
			default:
				read(runs[pick()], rapid.IntRange(1, 50_000).Draw(t, "chunk"))
			}
		}
		for len(runs) > 0 {
			release(0)
		}
		for len(done) < lay.NumPieces() {
			claim()
			r := b.take(total)
			for r != nil && r.pos < r.end {
				read(r, 1<<20)
			}
		}
		if len(b.pieces)+len(b.gaps)+len(b.runs) != 0 {
			t.Fatalf("left over: %d pieces, %v, %d runs", len(b.pieces), b.gaps, len(b.runs))
		}
	})
}

// TestBoardOfLostPieces: what was asked for of a piece that another brings is
// pointless, and the piece is not begun anew when its run is given up.
func TestBoardOfLostPieces(t *testing.T) {
	lay, err := layout.New(100, []layout.File{{Path: "f", Length: 400}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(lay)
	b.add(0, 4)
	r := b.take(400)
	r.asked = 250
	copy(b.window(r, 30), make([]byte, 30))
	b.advance(r, 0, 30)
	if b.yield(0) || b.yield(1) || !b.yield(3) {
		t.Fatal("what was asked for was given back, or what was not was kept")
	}
	if n, ok := b.pointless(r); ok {
		t.Errorf("%d bytes of a wanted piece are pointless", n)
	}
	if b.yield(2) {
		t.Fatal("piece 2 was given back, but half of it was asked for")
	}
	if n, ok := b.pointless(r); !ok || n != 220 {
		t.Errorf("%d bytes are pointless, %v; want 220", n, ok)
	}
	unclaim := b.release(r)
	if !slices.Equal(unclaim, []int{1, 2}) || len(b.gaps) != 1 || b.gaps[0] != (span{30, 100}) {
		t.Errorf("gave back %v and kept %v, want the pieces 1 and 2 back and the rest of 0", unclaim, b.gaps)
	}
}

func TestBoardFindsTheLiar(t *testing.T) {
	lay, err := layout.New(100, []layout.File{{Path: "f", Length: 100}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(lay)
	fill := func(r *run, mirror int, v byte) *piece {
		w := b.window(r, 1000)
		for i := range w {
			w[i] = v
		}
		return b.advance(r, mirror, len(w))
	}
	b.add(0, 1)
	first := b.take(100)
	second := b.split(first, 50)
	fill(first, 1, 'x') // lies
	p := fill(second, 2, 'a')
	if liar := b.bad(p); liar != -1 {
		t.Fatalf("mirror %d blamed for a piece of two", liar)
	}
	b.drop(p)
	b.add(0, 1)
	r := b.take(1)
	if r.end != 100 || b.split(r, 50) != nil {
		t.Fatal("a suspect piece was parted")
	}
	p = fill(r, 3, 'a')
	if liars := b.good(p); !slices.Equal(liars, []int{1}) {
		t.Errorf("liars %v, want mirror 1", liars)
	}
}

func TestRunSize(t *testing.T) {
	const rtt = 80 * time.Millisecond
	for _, c := range []struct {
		name        string
		rate, total float64
		left        int64
		min, max    int64
	}{
		{"unknown rate", 0, 0, 1 << 30, firstRun, firstRun},
		{"unknown rate, little left", 0, 0, 1 << 10, minRun, minRun},
		{"in the middle", 1e6, 30e6, 1 << 30, 1_400_000, 1_600_000},
		{"near the end", 1e6, 30e6, 15e6, 240_000, 260_000},
		{"at the end", 1e6, 30e6, 0, 150_000, 170_000},
		{"very fast", 1e9, 1e9, 1 << 40, maxRun, maxRun},
		{"very slow", 100, 100, 1 << 30, minRun, minRun},
	} {
		if n := runSize(c.rate, c.total, rtt, c.left); n < c.min || n > c.max {
			t.Errorf("%s: %d bytes, want %d to %d", c.name, n, c.min, c.max)
		}
	}
}

func TestSplit(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name      string
		v         progress
		taker     float64
		cut       int64
		abort, ok bool
	}{
		{"equal rates", progress{end: 2 * mb, rate: mb}, mb, mb + mb/20, false, true},
		{"nearly done", progress{end: mb / 10, rate: mb}, mb, 0, false, false},
		{"slow", progress{end: 2 * mb, rate: mb / 10}, mb, 0, false, true},
		{"stalled", progress{end: mb, busy: mb / 64, rate: mb, stall: 5 * time.Second}, mb, 0, true, true},
		{"stalled behind another", progress{end: mb, rate: mb, ahead: mb, stall: 5 * time.Second}, mb, 0, false, true},
		{"never sent anything", progress{end: mb, busy: mb, rate: 0}, mb, 0, true, true},
		{"much of it requested, little to gain", progress{end: mb / 2, asked: mb/2 - mb/64, rate: mb}, mb, mb/2 - mb/64, false, true},
		{"all of it requested, little to gain", progress{end: mb / 2, asked: mb / 2, rate: mb}, mb, 0, false, false},
		{"all of it requested, much to gain", progress{end: 2 * mb, asked: 2 * mb, rate: mb}, mb, mb + mb/20, false, true},
		{"rate of the taker unknown", progress{end: 2 * mb, rate: mb}, 0, mb + mb/20, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cut, abort, ok := split(c.v, c.taker, 100*time.Millisecond)
			if ok != c.ok || abort != c.abort {
				t.Fatalf("cut %d, abort %v, ok %v", cut, abort, ok)
			}
			if ok && (cut < c.v.busy || cut > c.v.end-minSteal) && !abort {
				t.Errorf("cut at %d is out of what can be taken", cut)
			}
			if c.cut > 0 && (cut < c.cut-1000 || cut > c.cut+1000) {
				t.Errorf("cut at %d, want %d", cut, c.cut)
			}
		})
	}
}
