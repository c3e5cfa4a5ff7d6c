package httpfetch

import (
	"hash/maphash"
	"slices"

	"distd/internal/layout"
)

// span is the bytes [off, end) of the release.
type span struct{ off, end int64 }

// run is a stretch of claimed bytes that one connection is to receive.
type run struct {
	pos   int64 // received before here
	busy  int64 // a read is filling the bytes before here
	asked int64 // requested before here
	end   int64
}

// piece is one that was claimed and is not delivered yet.
type piece struct {
	index int
	buf   []byte // nil before the first byte
	left  int64  // bytes missing
	parts []part // who sent what
	lost  bool   // another brings it
}

// part is a stretch of a piece that one mirror sent.
type part struct {
	mirror int
	off, n int64  // in the piece
	sum    uint64 // of the bytes, once the piece turned out bad
}

// board keeps the claimed bytes: each is received in a piece's buffer, in a run
// of some connection, or in a gap, which nobody was given. It does no I/O and is
// guarded by its owner.
type board struct {
	lay    *layout.Layout
	pieces map[int]*piece
	gaps   []span // sorted, disjoint
	runs   map[*run]struct{}
	free   [][]byte
	// suspects are pieces that several mirrors sent together and that did not
	// verify. They are fetched again in one stretch, from one mirror, to find out
	// who lied.
	suspects map[int][]part
	seed     maphash.Seed
}

// maxSuspects bounds what is remembered for finding liars.
const maxSuspects = 256

func newBoard(l *layout.Layout) *board {
	return &board{lay: l, pieces: map[int]*piece{}, runs: map[*run]struct{}{}, suspects: map[int][]part{}, seed: maphash.MakeSeed()}
}

// add takes in n pieces that were claimed.
func (b *board) add(first, n int) {
	for i := first; i < first+n; i++ {
		b.pieces[i] = &piece{index: i, left: b.lay.PieceSize(i)}
	}
	last := first + n - 1
	b.addGap(span{b.lay.PieceOffset(first), b.lay.PieceOffset(last) + b.lay.PieceSize(last)})
}

func (b *board) addGap(s span) {
	if s.off >= s.end {
		return
	}
	i, _ := slices.BinarySearchFunc(b.gaps, s, func(a, o span) int {
		if a.off < o.off {
			return -1
		}
		return 1
	})
	b.gaps = slices.Insert(b.gaps, i, s)
	if i+1 < len(b.gaps) && b.gaps[i+1].off == s.end {
		b.gaps[i].end = b.gaps[i+1].end
		b.gaps = slices.Delete(b.gaps, i+1, i+2)
	}
	if i > 0 && b.gaps[i-1].end == b.gaps[i].off {
		b.gaps[i-1].end = b.gaps[i].end
		b.gaps = slices.Delete(b.gaps, i, i+1)
	}
}

// take gives about want bytes of the first gap to a connection, or nil when
// there is no gap.
func (b *board) take(want int64) *run {
	if len(b.gaps) == 0 {
		return nil
	}
	g := &b.gaps[0]
	cut := g.end
	if want+want/4 < g.end-g.off {
		cut = min(b.snap(g.off+want, minRun), g.end)
	}
	r := &run{pos: g.off, busy: g.off, asked: g.off, end: cut}
	if g.off = cut; g.off == g.end {
		b.gaps = slices.Delete(b.gaps, 0, 1)
	}
	b.runs[r] = struct{}{}
	return r
}

// snap moves an offset inside of a suspect piece behind it, and one that is less
// than near bytes before the end of a piece there.
func (b *board) snap(off, near int64) int64 {
	i := int(off / b.lay.PieceLength)
	start := b.lay.PieceOffset(i)
	if off == start || i >= b.lay.NumPieces() {
		return off
	}
	end := start + b.lay.PieceSize(i)
	if _, ok := b.suspects[i]; ok || end-off < near {
		return end
	}
	return off
}

// split cuts r at an offset and returns the run behind it, or nil when that
// would part a suspect piece so that nothing is left.
func (b *board) split(r *run, cut int64) *run {
	cut = b.snap(max(cut, r.busy), 0)
	if cut >= r.end {
		return nil
	}
	n := &run{pos: cut, busy: cut, asked: cut, end: r.end}
	r.end = cut
	b.runs[n] = struct{}{}
	return n
}

// window is where the next bytes of r are to be read to: at most chunk bytes of
// its current piece. It is empty when the run has all its bytes.
func (b *board) window(r *run, chunk int) []byte {
	if r.pos >= r.end {
		return nil
	}
	p := b.pieces[int(r.pos/b.lay.PieceLength)]
	start := b.lay.PieceOffset(p.index)
	size := b.lay.PieceSize(p.index)
	if p.buf == nil {
		p.buf = b.buffer()[:size]
	}
	r.busy = min(r.pos+int64(chunk), r.end, start+size)
	return p.buf[r.pos-start : r.busy-start]
}

// buffer is a free buffer of the length of a whole piece.
func (b *board) buffer() []byte {
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return make([]byte, min(b.lay.PieceLength, b.lay.Total))
}

// advance says that n bytes from the mirror were read into r's window. It
// returns the piece when that made it whole.
func (b *board) advance(r *run, mirror, n int) *piece {
	p := b.pieces[int(r.pos/b.lay.PieceLength)]
	off := r.pos - b.lay.PieceOffset(p.index)
	r.pos += int64(n)
	r.busy = r.pos
	p.left -= int64(n)
	p.credit(mirror, off, int64(n))
	if r.pos >= r.end {
		delete(b.runs, r)
	}
	if p.left == 0 {
		return p
	}
	return nil
}

func (p *piece) credit(mirror int, off, n int64) {
	for i := range p.parts {
		if q := &p.parts[i]; q.mirror == mirror && q.off+q.n == off {
			q.n += n
			return
		}
	}
	p.parts = append(p.parts, part{mirror: mirror, off: off, n: n})
}

// mirrors are those that sent parts of the piece.
func (p *piece) mirrors() []int {
	var m []int
	for _, q := range p.parts {
		if !slices.Contains(m, q.mirror) {
			m = append(m, q.mirror)
		}
	}
	return m
}

// drop forgets a piece that was delivered or turned out bad.
func (b *board) drop(p *piece) {
	delete(b.pieces, p.index)
	b.recycle(p)
}

func (b *board) recycle(p *piece) {
	if p.buf != nil {
		b.free = append(b.free, p.buf[:cap(p.buf)])
		p.buf = nil
	}
}

// release takes a run from its connection. Pieces of which nothing has arrived
// are forgotten and returned, to be unclaimed; the rest of a begun one becomes a
// gap, so that what has arrived of it is not lost.
func (b *board) release(r *run) (unclaim []int) {
	if _, ok := b.runs[r]; !ok {
		return nil
	}
	delete(b.runs, r)
	r.busy = r.pos
	for off := r.pos; off < r.end; {
		i := int(off / b.lay.PieceLength)
		p := b.pieces[i]
		start := b.lay.PieceOffset(i)
		stop := start + b.lay.PieceSize(i)
		end := min(stop, r.end)
		_, suspect := b.suspects[i]
		if whole := off == start && end == stop; whole && (p.left == stop-start || p.lost) || suspect {
			delete(b.pieces, i)
			b.recycle(p)
			unclaim = append(unclaim, i)
		} else {
			b.addGap(span{off, end})
		}
		off = end
	}
	return unclaim
}

// yield forgets a piece of which nothing was asked for yet, to be unclaimed. It
// is false where that is too late; the piece is known as lost then.
func (b *board) yield(i int) bool {
	p := b.pieces[i]
	if p == nil {
		return false
	}
	p.lost = true
	if p.left < b.lay.PieceSize(i) {
		return false
	}
	start := b.lay.PieceOffset(i)
	stop := start + b.lay.PieceSize(i)
	var rest []span
	for k, g := range b.gaps {
		if g.off <= start && stop <= g.end {
			b.gaps = slices.Delete(b.gaps, k, k+1)
			rest = []span{{g.off, start}, {stop, g.end}}
			break
		}
	}
	for r := range b.runs {
		if rest == nil && r.asked <= start && stop <= r.end {
			rest = []span{{stop, r.end}}
			if r.end = start; r.pos >= r.end {
				delete(b.runs, r)
			}
		}
	}
	if rest == nil {
		return false
	}
	for _, s := range rest {
		b.addGap(s)
	}
	delete(b.pieces, i)
	b.recycle(p)
	return true
}

// pointless reports whether all that was asked for of the run, and has not come,
// belongs to lost pieces, and how many bytes that are.
func (b *board) pointless(r *run) (n int64, ok bool) {
	end := min(r.asked, r.end)
	for off := r.pos; off < end; {
		p := b.pieces[int(off/b.lay.PieceLength)]
		if p == nil || !p.lost {
			return 0, false
		}
		stop := min(b.lay.PieceOffset(p.index)+b.lay.PieceSize(p.index), end)
		n += stop - off
		off = stop
	}
	return n, true
}

// dropAll forgets every piece, to be unclaimed. There must be no run left.
func (b *board) dropAll() (unclaim []int) {
	for i, p := range b.pieces {
		unclaim = append(unclaim, i)
		b.recycle(p)
	}
	clear(b.pieces)
	b.gaps = nil
	slices.Sort(unclaim)
	return unclaim
}

// unreceived is the number of bytes in runs that are still to come.
func (b *board) unreceived() (n int64) {
	for r := range b.runs {
		n += r.end - r.pos
	}
	return n
}

// bad is told of a piece that did not verify. It returns the mirror to blame,
// or -1 when several sent it and it has to be fetched again to know.
func (b *board) bad(p *piece) (liar int) {
	m := p.mirrors()
	if len(m) == 1 {
		delete(b.suspects, p.index)
		return m[0]
	}
	if len(b.suspects) < maxSuspects {
		for i := range p.parts {
			q := &p.parts[i]
			q.sum = maphash.Bytes(b.seed, p.buf[q.off:q.off+q.n])
		}
		b.suspects[p.index] = p.parts
	}
	return -1
}

// good is told of a piece that verified. It returns the mirrors that had sent
// other bytes for it before.
func (b *board) good(p *piece) (liars []int) {
	for _, q := range b.suspects[p.index] {
		if maphash.Bytes(b.seed, p.buf[q.off:q.off+q.n]) != q.sum && !slices.Contains(liars, q.mirror) {
			liars = append(liars, q.mirror)
		}
	}
	delete(b.suspects, p.index)
	return liars
}
