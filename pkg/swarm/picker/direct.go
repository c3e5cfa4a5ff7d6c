package picker

import (
	"math"
	"slices"
	"time"
)

// director chooses what a directing seed reveals. The seed advertises nothing
// wholesale: each leaf always holds a few revealed pieces that it has not got
// yet, each chosen as the one with the fewest copies seen plus reveals
// pending. So no two leaves ask the seed for the same piece while another has
// never left it, and what the seed sends is nearly one copy.
//
// Of several directing seeds that know each other every piece belongs to one,
// by rendezvous hash. With equal counts a seed reveals its own pieces first, so
// that together they send one copy, and then those of the others, from the end
// that those come to last: one that is slow, hangs or has died is helped without
// anybody having to notice.
type director struct {
	// keys are two times the copies seen plus reveals pending of each piece, and
	// one more for a piece of another seed.
	keys []int32
	// order holds the pieces that can be revealed, smallest keys first; pos is
	// the inverse (-1: not there) and start[k] where those of key k begin.
	order []int32
	pos   []int32
	start []int32

	firsts firsts
	crowd  crowd
	id     uint64
	others []*Peer // directing seeds
}

// view is what a directing seed knows of one leaf.
type view struct {
	revealed map[int]struct{} // and not delivered
	rate     Rate             // of deliveries
	exempt   bool
	waits    bool // in the line of crowd
	id       uint64
}

func newDirector(n int, id uint64) *director {
	d := &director{firsts: firsts{under: newBitset(n)}, keys: make([]int32, n), pos: make([]int32, n), start: []int32{0}, id: id}
	for i := range d.pos {
		d.pos[i] = -1
	}
	return d
}

// swap exchanges two places of the order.
func (d *director) swap(a, b int32) {
	x, y := d.order[a], d.order[b]
	d.order[a], d.order[b] = y, x
	d.pos[x], d.pos[y] = b, a
}

// bound is where the pieces of key k begin.
func (d *director) bound(k int32) int32 {
	for int32(len(d.start)) <= k {
		d.start = append(d.start, int32(len(d.order)))
	}
	return d.start[k]
}

// add makes a piece one that can be revealed.
func (d *director) add(piece int) {
	if d.pos[piece] >= 0 {
		return
	}
	key := d.keys[piece]
	d.bound(key + 1)
	d.pos[piece] = int32(len(d.order))
	d.order = append(d.order, int32(piece))
	// Every higher key gives its first place to the end and moves up by one.
	for k := int32(len(d.start)) - 1; k > key; k-- {
		d.swap(d.pos[piece], d.start[k])
		d.start[k]++
	}
}

// remove takes back a piece that turned out not to be there.
func (d *director) remove(piece int) {
	if d.pos[piece] < 0 {
		return
	}
	d.bound(int32(len(d.start))) // an empty last bucket, so that the loop ends at the end
	for k := d.keys[piece] + 1; k < int32(len(d.start)); k++ {
		d.start[k]--
		d.swap(d.pos[piece], d.start[k])
	}
	d.order = d.order[:len(d.order)-1]
	d.pos[piece] = -1
}

// inc counts one more copy of the piece, dec one less.
func (d *director) inc(piece int) { d.up(piece); d.up(piece) }
func (d *director) dec(piece int) { d.down(piece); d.down(piece) }

// up moves a piece behind those of its key, into the next.
func (d *director) up(piece int) {
	k := d.keys[piece]
	d.keys[piece]++
	if d.pos[piece] < 0 {
		return
	}
	d.bound(k + 1)
	d.start[k+1]--
	d.swap(d.pos[piece], d.start[k+1])
}

// down is the reverse of up.
func (d *director) down(piece int) {
	k := d.keys[piece]
	d.keys[piece]--
	if d.pos[piece] < 0 {
		return
	}
	d.swap(d.pos[piece], d.bound(k))
	d.start[k]++
}

// delivered notes that a leaf has a piece, from the seed or from anywhere.
func (d *director) delivered(pe *Peer, piece, length int, now time.Duration) {
	d.firsts.came(piece, now)
	if _, ok := pe.view.revealed[piece]; ok {
		delete(pe.view.revealed, piece)
		d.crowd.arrived(now)
		pe.view.rate.Add(length, now)
		return // the pending reveal has become a copy
	}
	d.inc(piece)
}

// forget drops what a peer that left had and was going to have.
func (d *director) forget(pe *Peer) {
	for i := range d.keys {
		if pe.have.has(i) {
			d.dec(i)
		}
	}
	pending := make([]int, 0, len(pe.view.revealed))
	for i := range pe.view.revealed {
		pending = append(pending, i)
	}
	slices.Sort(pending) // the order of a map would make runs differ
	for _, i := range pending {
		d.dec(i)
		d.crowd.shown--
		d.firsts.drop(i)
	}
	pe.view.revealed = nil
}

// pick is the piece with the smallest key that the leaf neither has nor was
// shown, or -1.
func (d *director) pick(pe *Peer) int {
	for k, first := range d.start {
		last := int32(len(d.order))
		if k+1 < len(d.start) {
			last = d.start[k+1]
		}
		bucket := d.order[first:last]
		for n := range bucket {
			i := int(bucket[n])
			if k&1 == 1 { // another seed's: from the other end
				i = int(bucket[len(bucket)-1-n])
			}
			if _, shown := pe.view.revealed[i]; !shown && !pe.have.has(i) {
				return i
			}
		}
	}
	return -1
}

const (
	// pendingBytes is what a leaf holds at least in revealed pieces: 4 pieces
	// of 64 KiB, 2 of 256 KiB.
	pendingBytes = 256 * kib
	// fewLeaves hold so much; of more, all together hold no more than these. What
	// is shown to one is kept from the others, and with hundreds of them that
	// was most of the content.
	fewLeaves = 16
	// maxPendingBytes bounds what one fast leaf may be shown ahead.
	maxPendingBytes = 64 * mib
	// stockHaste makes that 3 s for clients of other kinds. Some look at what
	// they were shown only in pulses, and two seconds pass between a HAVE and
	// the piece: with less they never become faster.
	stockHaste = 30
)

// Pending is how many pieces of the given length a leaf is shown ahead when it
// has been taking rate bytes a second: few, so that the choice comes late, but
// enough for 100 ms, so that a single fast leaf does not wait for reveals. Of
// many leaves each is shown fewer.
func Pending(rate float64, pieceLength int64, leaves int) int {
	base := min(16, max(2, pendingBytes/pieceLength))
	if n := int64(leaves); n > fewLeaves {
		base = (base*fewLeaves + n - 1) / n
	}
	fast := int64(math.Ceil(min(rate*0.1, maxPendingBytes) / float64(pieceLength)))
	return int(max(base, fast))
}

// reveal makes a piece that has just come one that can be shown.
func (p *Picker) reveal(i int) {
	if p.dir != nil {
		p.dir.add(i)
	}
}

// Reveals appends the pieces to show the peer now (as HAVE messages). It is
// nothing unless the picker is a directing one.
func (p *Picker) Reveals(pe *Peer, now time.Duration, dst []int) []int {
	if p.dir == nil || pe.view.exempt || pe.count == p.cfg.Pieces {
		return dst
	}
	if pe.view.revealed == nil {
		pe.view.revealed = make(map[int]struct{})
	}
	rate := pe.view.rate.At(now)
	leaves := len(p.peers)
	if pe.stock {
		rate *= stockHaste
		leaves = 1
	}
	for k := Pending(rate, p.cfg.PieceLength, leaves); len(pe.view.revealed) < k; {
		if p.crowded(pe, now) {
			break
		}
		i := p.pickReveal(pe)
		if i < 0 || p.holds(i, now) {
			break
		}
		if p.dir.keys[i] <= 1 {
			p.dir.firsts.shown(i, now)
		}
		pe.view.revealed[i] = struct{}{}
		p.dir.crowd.shown++
		p.dir.inc(i)
		dst = append(dst, i)
	}
	return dst
}

// Revealed is the number of pieces shown to the peer that it has not got.
func (pe *Peer) Revealed() int { return len(pe.view.revealed) }
