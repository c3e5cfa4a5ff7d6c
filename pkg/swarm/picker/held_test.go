package picker

import (
	"testing"
	"time"
)

// fetching is a picker that lacks pieces of 64 KiB, with memory for so many, and
// a peer that has the first few of them and answers.
func fetching(pieces, has, memory int) (*Picker, *Peer) {
	p := New(Config{Pieces: pieces, PieceLength: 64 * kib, LastLength: 64 * kib, Grow: func() int { memory--; return max(0, min(1, memory+1)) }})
	pe := p.Add("peer", 250, 0)
	p.SetChoked(pe, false)
	for i := range has {
		p.SetHave(pe, i, 0)
	}
	return p, pe
}

// answer has the peer send what it was asked for, up to n blocks.
func answer(p *Picker, pe *Peer, n int, now time.Duration) (whole []int) {
	for ; n > 0 && len(pe.out) > 0; n-- {
		if r := pe.out[0].Request; p.Arrived(pe, r, now) == Whole {
			whole = append(whole, r.Piece)
		}
	}
	return whole
}

func TestHeld(t *testing.T) {
	const now = time.Second
	for _, c := range []struct {
		name   string
		want   Hold
		moving bool
		make   func() *Picker
	}{
		{"nothing is missing", Free, false, func() *Picker { return New(Config{Pieces: 1, Have: func(int) bool { return true }}) }},
		{"nobody is there", ByPeers, false, func() *Picker { return New(Config{Pieces: 1, PieceLength: 1, LastLength: 1}) }},
		{"the peer chokes", ByPeers, false, func() *Picker {
			p, pe := fetching(9, 9, 9)
			p.Decide(now)
			p.SetChoked(pe, true)
			return p
		}},
		{"the peer refuses", ByPeers, false, func() *Picker {
			p, pe := fetching(9, 1, 9)
			p.Decide(now)
			for len(pe.out) > 0 {
				p.Reject(pe, pe.out[0].Request, now)
			}
			return p
		}},
		{"the peer has nothing", ByPieces, false, func() *Picker { p, _ := fetching(9, 0, 9); return p }},
		{"the queue is full", ByPeers, true, func() *Picker { p, _ := fetching(9, 9, 9); return p }},
		{"the peer has too little for its rate", ByPieces, true, func() *Picker {
			p, pe := fetching(99, 41, 99)
			for p.Count() < 40 {
				p.Decide(now)
				for _, i := range answer(p, pe, 1, now) {
					p.Stored(i, now)
				}
			}
			return p
		}},
		{"there is no memory", ByMemory, true, func() *Picker {
			p, pe := fetching(99, 99, 1)
			p.Decide(now)
			answer(p, pe, 1, now)
			return p
		}},
		{"memory is with the disk", ByDisk, false, func() *Picker {
			p, pe := fetching(99, 99, 1)
			p.Decide(now)
			answer(p, pe, 4, now)
			return p
		}},
		{"all that the peer has is with the disk", ByDisk, false, func() *Picker {
			p, pe := fetching(99, 1, 9)
			p.Decide(now)
			answer(p, pe, 4, now)
			return p
		}},
		{"the disk refuses", ByDisk, false, func() *Picker { p, _ := fetching(9, 9, 9); p.Pause(true); return p }},
	} {
		p := c.make()
		p.Decide(now)
		if why, moving := p.Held(now); why != c.want || moving != c.moving {
			t.Errorf("%s: held %d, moving %v, want %d, %v", c.name, why, moving, c.want, c.moving)
		}
	}
}

// TestYield: one block from each peer, and the full queue again afterwards.
func TestYield(t *testing.T) {
	p, pe := fetching(99, 99, 99)
	p.Yield(true)
	if p.Decide(0); len(pe.out) != 1 {
		t.Errorf("%d blocks are under way while others go first, want 1", len(pe.out))
	}
	p.Yield(false)
	if p.Decide(0); pe.outBytes < depthFloor {
		t.Errorf("%d bytes are under way afterwards, want %d", pe.outBytes, depthFloor)
	}
}
