package swarm

import (
	"bytes"
	"testing"

	"distd/pkg/swarm/wire"
)

// asker is a connection as far as a part knows it.
func asker() *conn { return &conn{asked: make(map[wire.Block][]byte)} }

// fill is a block of one byte's value.
func fill(b wire.Block, v byte) []byte { return bytes.Repeat([]byte{v}, int(b.Length)) }

func blocksOf(n int) (bs []wire.Block) {
	for i := range n {
		bs = append(bs, wire.Block{Begin: uint32(i) * wire.DefaultBlock, Length: wire.DefaultBlock})
	}
	return bs
}

func newPart(bud *budget, blocks int) *part {
	return &part{data: bud.buffer(blocks * wire.DefaultBlock)}
}

func TestPlaceOfABlockIsLentOnce(t *testing.T) {
	bud := newBudget(1 << 20)
	p, a, b := newPart(bud, 4), asker(), asker()
	long := wire.Block{Begin: wire.DefaultBlock, Length: 2 * wire.DefaultBlock}
	one := blocksOf(4)
	if got := p.lend(a, long); len(got) != int(long.Length) || &got[0] != &(*p.data)[long.Begin] {
		t.Fatal("a block is not read to its place")
	}
	for i, free := range []bool{true, false, false, true} {
		if got := p.lend(b, one[i]); (got != nil) != free {
			t.Errorf("place of block %d lent to the second connection: %v, want %v", i, got != nil, free)
		}
	}
	if p.returned(b, long) || !p.returned(a, long) || p.returned(a, long) {
		t.Error("a place comes back from who has it, and once")
	}
	if p.lend(b, one[1]) == nil {
		t.Error("a place that came back is not lent again")
	}
}

// A block comes from a second connection while the first is reading it: what the
// first writes afterwards must not reach the bytes that are verified.
func TestPartLeavesAReaderBehind(t *testing.T) {
	bud := newBudget(1 << 20)
	p, slow, other := newPart(bud, 4), asker(), asker()
	one := blocksOf(4)
	read := p.lend(slow, one[1]) // and not in slow.asked: its reader has it
	waits := p.lend(other, one[2])
	other.expect(one[2], waits)
	copy(p.at(one[0]), fill(one[0], 0xA0))
	p.put(bud, one[1], fill(one[1], 0xB1))
	copy(read, fill(one[1], 0xFF))
	if got := p.at(one[1]); !bytes.Equal(got, fill(one[1], 0xB1)) {
		t.Error("the late reader changed a block that had come from elsewhere")
	}
	if got := p.at(one[0]); !bytes.Equal(got, fill(one[0], 0xA0)) {
		t.Error("a block that was there got lost when the part moved")
	}
	// The third block is read to the old memory, and copied when it comes.
	copy(waits, fill(one[2], 0xC2))
	if p.returned(other, one[2]) {
		t.Error("a place of the old memory counts as one of the new")
	}
	p.put(bud, one[2], waits)
	if got := p.at(one[2]); !bytes.Equal(got, fill(one[2], 0xC2)) {
		t.Error("a block that was read to the old memory is not in the new")
	}
}

// Where the reader has not begun, it is told to read elsewhere, and nothing moves.
func TestPartTakesAPlaceBack(t *testing.T) {
	bud := newBudget(1 << 20)
	p, slow := newPart(bud, 2), asker()
	one := blocksOf(2)
	slow.expect(one[0], p.lend(slow, one[0]))
	before := &(*p.data)[0]
	p.put(bud, one[0], fill(one[0], 1))
	if place, asked := slow.asked[one[0]]; !asked || place != nil {
		t.Errorf("the slow connection still has the place: asked %v, place %v", asked, place != nil)
	}
	if before != &(*p.data)[0] || len(p.lent) != 0 {
		t.Error("the part moved without need")
	}
}

func TestBuffersAreUsedAgain(t *testing.T) {
	bud := newBudget(8 << 20)
	bud.take(nil, 1)
	p := bud.buffer(1 << 20)
	bud.freeBuffer(p)
	if q := bud.buffer(900 << 10); q != p || len(*q) != 900<<10 {
		t.Error("a buffer is not used again")
	} else {
		bud.freeBuffer(q)
	}
	if q := bud.buffer(100 << 10); q == p {
		t.Error("a buffer much too long was taken")
	}
	for range 20 {
		b := make([]byte, 1<<20)
		bud.freeBuffer(&b)
	}
	if bud.spareBytes > bud.limit/sparePart {
		t.Errorf("%d bytes are kept of a limit of %d", bud.spareBytes, bud.limit)
	}
	if bud.give(1); len(bud.spare) != 0 || bud.spareBytes != 0 {
		t.Error("buffers are kept though nothing is being fetched")
	}
}
