package picker

import (
	"slices"
	"testing"
	"time"
)

// besides is a picker with pieces of 64 KiB of which nobody has any, and a peer
// that says that it fetches them too.
func besides(pieces int) (p *Picker, pe *Peer) {
	p = New(Config{Pieces: pieces, PieceLength: modelPiece, LastLength: modelPiece, Directing: true, ID: 1000, OneCopy: true, Contended: true})
	pe = p.Add(nil, 500, 0)
	p.SetChoked(pe, false)
	p.Exempt(pe, 1077)
	p.Fetches(pe, 1077, 0)
	return p, pe
}

// fetchBesides has the picker's node fetch 400 pieces a second, some at a time,
// while tell has the peer say something every tenth of a second. It returns when
// all is there.
func fetchBesides(t *testing.T, p *Picker, tell func(now time.Duration)) (now time.Duration) {
	t.Helper()
	var queue []int
	var got int64
	for now = time.Millisecond; !p.Done(); now += 10 * time.Millisecond {
		if now > time.Minute {
			t.Fatalf("only %d pieces came in a minute", p.Count())
		}
		if now%(100*time.Millisecond) == time.Millisecond {
			tell(now)
			for _, y := range p.Yielded() {
				if k := slices.Index(queue, y); k > 40 { // the first are asked for already
					queue = slices.Delete(queue, k, k+1)
					p.Unclaim(y, 1)
				}
			}
		}
		for len(queue) < 80 {
			first, n, _ := p.Claim(16, now)
			if n == 0 {
				break
			}
			for i := range n {
				queue = append(queue, first+i)
			}
		}
		for range min(4, len(queue)) {
			got += modelPiece
			p.Received(got, now)
			p.Stored(queue[0], now)
			queue = queue[1:]
		}
		p.Tick(now)
	}
	return now
}

// A peer that says that it fetches everything and brings nothing costs seconds,
// whatever it says.
func TestEmptyClaims(t *testing.T) {
	const pieces = 2000 // which take 5 s
	for _, c := range []struct {
		name string
		tell func(p *Picker, pe *Peer, now time.Duration)
	}{
		{"silent", func(*Picker, *Peer, time.Duration) {}},
		{"bytes without end", func(p *Picker, pe *Peer, now time.Duration) {
			p.TheyReceived(pe, int64(now)*10, now)
		}},
		{"bytes, at our rate", func(p *Picker, pe *Peer, now time.Duration) {
			p.TheyReceived(pe, int64(400*modelPiece*now.Seconds()), now)
		}},
		{"bytes, and nothing claimed", func(p *Picker, pe *Peer, now time.Duration) {
			p.TheyUnclaim(pe, 0, pieces)
			p.TheyReceived(pe, int64(now)*10, now)
		}},
		{"claims and unclaims", func(p *Picker, pe *Peer, now time.Duration) {
			p.TheyUnclaim(pe, 0, pieces)
			p.TheyClaim(pe, 0, pieces, false, now)
		}},
		{"takes everything again and again", func(p *Picker, pe *Peer, now time.Duration) {
			p.TheyUnclaim(pe, 0, pieces)
			p.TheyClaim(pe, 0, pieces, true, now)
		}},
		{"a piece now and then", func(p *Picker, pe *Peer, now time.Duration) {
			if i := pieces - 1 - int(now/time.Second); now%time.Second < 100*time.Millisecond && !p.Has(i) {
				p.SetHave(pe, i, now)
				p.Stored(i, now)
			}
			p.TheyReceived(pe, int64(now)*10, now)
		}},
		{"claims what it has", func(p *Picker, pe *Peer, now time.Duration) {
			for i := range pieces {
				p.SetHave(pe, i, now)
			}
			p.SetChoked(pe, true)
			p.TheyClaim(pe, 0, pieces, false, now)
			p.TheyReceived(pe, int64(now)*10, now)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, pe := besides(pieces)
			p.TheyClaim(pe, 0, pieces, false, 0)
			took := fetchBesides(t, p, func(now time.Duration) { c.tell(p, pe, now) })
			t.Logf("%v", took)
			if took > 15*time.Second {
				t.Errorf("took %v, want 5 s and some seconds", took)
			}
		})
	}
}

// Who changes its mind for ever costs no memory.
func TestFickleClaims(t *testing.T) {
	p, pe := besides(64)
	for k := range 10_000 {
		p.TheyClaim(pe, 0, 3, false, time.Duration(k))
		p.TheyUnclaim(pe, 1, 2)
		p.TheyUnclaim(pe, 0, 1)
	}
	p.TheyClaim(pe, 0, 64, false, time.Second)
	if n := len(pe.fetch.order); n > 128 {
		t.Errorf("%d claims are remembered of %d", n, pe.fetch.n)
	}
}

// What came before two knew each other says nothing of how fast one is now.
func TestFirstReport(t *testing.T) {
	p, pe := besides(1000)
	p.TheyReceived(pe, 5<<30, time.Second)
	p.TheyReceived(pe, 5<<30+1<<20, 1100*time.Millisecond)
	p.TheyReceived(pe, 5<<30+2<<20, 1200*time.Millisecond)
	if r := pe.fetch.pace(1200 * time.Millisecond); r > 30*mib {
		t.Errorf("expects %.0f MiB/s of one that gets 10", r/mib)
	}
	if r := pe.fetch.rate.At(1200 * time.Millisecond); r > 30*mib {
		t.Errorf("measured %.0f MiB/s of one that gets 10", r/mib)
	}
}
