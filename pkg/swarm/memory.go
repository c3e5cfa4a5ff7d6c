package swarm

import (
	"sync"

	"distd/pkg/swarm/wire"
)

// budget bounds the memory of pieces that are being fetched, over all torrents.
type budget struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	hungry  map[*Torrent]struct{}
	blocks  sync.Pool // *[wire.DefaultBlock]byte
	buffers sync.Pool // *[]byte of whole pieces
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit, hungry: make(map[*Torrent]struct{})}
	b.blocks.New = func() any { return new([wire.DefaultBlock]byte) }
	b.buffers.New = func() any { return new([]byte) }
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
	p := b.buffers.Get().(*[]byte)
	if cap(*p) < n {
		*p = make([]byte, n)
	}
	*p = (*p)[:n]
	return p
}

func (b *budget) freeBuffer(p *[]byte) { b.buffers.Put(p) }
