package picker

import (
	"math/rand/v2"
	"testing"
	"time"
)

// large is a seed's picker for a release of 100,000 pieces in the middle of its
// download, with 300 leaves that have a third each of what is here, and with two
// other seeds that fetch.
func large(leaves int, here float64) *Picker {
	const pieces = 100_000
	p := New(Config{Pieces: pieces, PieceLength: modelPiece, LastLength: modelPiece, Directing: true, ID: 1000, OneCopy: true, Contended: true})
	rng := rand.New(rand.NewPCG(1, 2))
	until := int(here * pieces)
	for i := range until {
		p.Got(i)
	}
	for range leaves {
		pe := p.Add(nil, 500, 0)
		p.SetChoked(pe, false)
		for i := range until {
			if rng.IntN(3) == 0 {
				p.SetHave(pe, i, 0)
			}
		}
		p.SetHave(pe, until+rng.IntN(pieces-until), 0)
	}
	for k := range 2 {
		id := uint64(2000 + k)
		pe := p.Add(nil, 500, 0)
		p.SetChoked(pe, false)
		p.Exempt(pe, id)
		p.Fetches(pe, id, 0)
		for i := range until {
			p.SetHave(pe, i, 0)
		}
		p.TheyClaim(pe, until+500*k, 200, false, time.Second)
		for s := range time.Duration(30) {
			p.TheyReceived(pe, int64(s+1)*10*mib, s*100*time.Millisecond)
		}
	}
	for s := range time.Duration(30) {
		p.Received(int64(s+1)*10*mib, s*100*time.Millisecond)
	}
	return p
}

// BenchmarkClaims is what it costs a seed with a large release and many leaves to
// look for what to claim.
func BenchmarkClaims(b *testing.B) {
	now := 3 * time.Second
	for _, c := range []struct {
		name   string
		leaves int
		here   float64
	}{{"alone", 0, 0.5}, {"300 leaves", 300, 0.5}, {"300 leaves, at the end", 300, 0.97}} {
		p := large(c.leaves, c.here)
		b.Run(c.name+"/claim", func(b *testing.B) {
			for b.Loop() {
				first, n, _ := p.Claim(16, now)
				p.Unclaim(first, n)
			}
		})
		b.Run(c.name+"/share", func(b *testing.B) {
			for b.Loop() {
				p.Share(now)
			}
		})
		b.Run(c.name+"/tick", func(b *testing.B) {
			for b.Loop() {
				p.dry = true
				p.Tick(now)
			}
		})
	}
}
