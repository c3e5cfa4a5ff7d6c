package picker

import (
	"testing"
	"time"
)

// The last block may be with a peer that takes requests and never answers while
// the piece belongs to a quick one: that one, or anybody, must be asked for it.
func TestTailLooksAtWhoWasAsked(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: 4 * BlockSize, LastLength: 4 * BlockSize})
	silent := holder(p, 0)
	requests(p, silent, 0)
	p.SetChoked(silent, true)
	owner := holder(p, 0)
	first := requests(p, owner, 0)
	if len(first) != 4 {
		t.Fatalf("asked for %v, want the whole piece", first)
	}
	// The owner rejects its last block, and the silent peer is asked for it.
	p.Reject(owner, first[3], 0)
	p.SetChoked(silent, false)
	if r := requests(p, silent, 0); len(r) != 1 || r[0] != first[3] {
		t.Fatalf("the silent peer was asked for %v, want %v", r, first[3])
	}
	now := 6 * time.Second // refusals are forgotten
	for _, r := range first[:3] {
		p.Block(owner, r, now)
	}
	if r := requests(p, owner, now+time.Second); len(r) != 1 || r[0] != first[3] {
		t.Errorf("the quick peer was asked for %v, want the block that the silent one owes", r)
	}
}

// Two peers that never answer must not hold the last block between them.
func TestTailAsksMoreThanTwo(t *testing.T) {
	p := New(Config{Pieces: 1, PieceLength: BlockSize, LastLength: BlockSize})
	for i := range 3 {
		pe := holder(p, 0)
		if r := requests(p, pe, time.Duration(i)*2*time.Second); len(r) != 1 {
			t.Errorf("peer %d was asked for %v", i, r)
		}
	}
}
