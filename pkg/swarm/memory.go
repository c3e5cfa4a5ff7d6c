package swarm

import (
	"slices"
	"sync"

	"distd/pkg/swarm/wire"
)

// budget bounds the memory of pieces that are being fetched, over all torrents.
type budget struct {
	mu     sync.Mutex
	limit  int64
	used   int64
	hungry map[*Torrent]struct{}
	blocks sync.Pool // *[wire.DefaultBlock]byte

	// spare are buffers of whole pieces for use again, spareBytes long in all.
	// They are kept here and not in a sync.Pool, which the garbage collector
	// empties: pieces of a few MiB would then be most of what it collects, and
	// the memory twice of what is in use.
	spare      []*[]byte
	spareBytes int64
}

// sparePart is which part of the limit may be kept for use again.
const sparePart = 4

func newBudget(limit int64) *budget {
	b := &budget{limit: limit, hungry: make(map[*Torrent]struct{})}
	b.blocks.New = func() any { return new([wire.DefaultBlock]byte) }
	return b
}

// take reserves n bytes for t. One piece is always allowed, however long. When
// there is no room, t is poked as soon as there is.
func (b *budget) take(t *Torrent, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.limit {
		b.hungry[t] = struct{}{}
		return false
	}
	b.used += n
	return true
}

// give returns what take reserved.
func (b *budget) give(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	b.used -= n
	if b.used == 0 {
		b.spare, b.spareBytes = nil, 0
	}
	var hungry map[*Torrent]struct{}
	if len(b.hungry) > 0 {
		hungry, b.hungry = b.hungry, make(map[*Torrent]struct{})
	}
	b.mu.Unlock()
	for t := range hungry {
		t.post(wakeEvent{})
	}
}

// wanted reports whether some torrent waits for memory.
func (b *budget) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.hungry) > 0
}

// forget takes a closed torrent out of the line.
func (b *budget) forget(t *Torrent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hungry, t)
}

func (b *budget) block() *[wire.DefaultBlock]byte {
	return b.blocks.Get().(*[wire.DefaultBlock]byte)
}

// freeBlock takes back a block by its memory.
func (b *budget) freeBlock(p []byte) {
	if cap(p) >= wire.DefaultBlock {
		b.blocks.Put((*[wire.DefaultBlock]byte)(p[:wire.DefaultBlock]))
	}
}

// buffer is memory for n bytes of a piece.
func (b *budget) buffer(n int) *[]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.spare) - 1; i >= 0; i-- {
		// Not one of another torrent that is much too long.
		if p := b.spare[i]; cap(*p) >= n && cap(*p) <= 2*n {
			b.spare = slices.Delete(b.spare, i, i+1)
			b.spareBytes -= int64(cap(*p))
			*p = (*p)[:n]
			return p
		}
	}
	p := make([]byte, n)
	return &p
}

// freeBuffer takes back what buffer gave. Nobody may use it any more.
func (b *budget) freeBuffer(p *[]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int64(cap(*p))
	for len(b.spare) > 0 && b.spareBytes+n > b.limit/sparePart {
		b.spareBytes -= int64(cap(*b.spare[0]))
		b.spare = slices.Delete(b.spare, 0, 1)
	}
	if b.used > 0 && b.spareBytes+n <= b.limit/sparePart {
		b.spare = append(b.spare, p)
		b.spareBytes += n
	}
}
