package tracker

import (
	"math/rand/v2"
	"net/netip"
	"sync"
)

// swarm is what the server knows of one torrent. Seeds and leeches are kept
// apart, each in an unordered slice, so that a random sample of either costs
// only what it returns.
type swarm struct {
	mu        sync.Mutex
	name      string
	allowed   bool
	gone      bool  // no longer in the store
	changed   int32 // second in which a peer last joined, or the torrent was allowed
	completed uint64
	own       *Peer
	// index has the place of each peer: i >= 0 is leeches[i], i < 0 is seeds[^i].
	index          map[peerKey]int32
	leeches, seeds []entry
}

func (w *swarm) len() int { return len(w.leeches) + len(w.seeds) }

// counts returns the number of seeds and leeches, the own peer included.
func (w *swarm) counts() (seeds, leeches int) {
	seeds, leeches = len(w.seeds), len(w.leeches)
	if w.own == nil {
		return seeds, leeches
	}
	if w.own.Left == 0 {
		return seeds + 1, leeches
	}
	return seeds, leeches + 1
}

func (w *swarm) at(i int32) *entry {
	if i >= 0 {
		return &w.leeches[i]
	}
	return &w.seeds[^i]
}

// find returns the entry of a peer, or nil.
func (w *swarm) find(k peerKey) *entry {
	i, ok := w.index[k]
	if !ok {
		return nil
	}
	return w.at(i)
}

// put adds a peer or replaces its entry.
func (w *swarm) put(e entry) {
	if i, ok := w.index[e.key]; ok {
		if (i < 0) == e.seed() {
			*w.at(i) = e
			return
		}
		w.remove(e.key)
	}
	if w.index == nil {
		w.index = make(map[peerKey]int32)
	}
	if e.seed() {
		w.index[e.key] = ^int32(len(w.seeds))
		w.seeds = append(w.seeds, e)
	} else {
		w.index[e.key] = int32(len(w.leeches))
		w.leeches = append(w.leeches, e)
	}
}

// remove forgets a peer and says whether it was there.
func (w *swarm) remove(k peerKey) bool {
	i, ok := w.index[k]
	if !ok {
		return false
	}
	delete(w.index, k)
	if i >= 0 {
		w.leeches = w.cut(w.leeches, int(i), i)
	} else {
		w.seeds = w.cut(w.seeds, int(^i), i)
	}
	if len(w.index) == 0 {
		w.index = nil // a map never shrinks
	}
	return true
}

// cut moves the last entry of list to place n, which the index calls i, and
// gives memory back when most of it is unused.
func (w *swarm) cut(list []entry, n int, i int32) []entry {
	last := len(list) - 1
	if n != last {
		list[n] = list[last]
		w.index[list[n].key] = i
	}
	list = list[:last]
	if cap(list) > 64 && last < cap(list)/4 {
		list = append(make([]entry, 0, 2*last), list...)
	}
	return list
}

// expire forgets the peers whose time is over and returns their number.
func (w *swarm) expire(now int32) int {
	n := 0
	for _, list := range []*[]entry{&w.leeches, &w.seeds} {
		for i := 0; i < len(*list); {
			if e := &(*list)[i]; e.expires <= now {
				w.remove(e.key)
				n++
				continue
			}
			i++
		}
	}
	return n
}

// sample appends up to want peers to dst, never the one that asks (self, id),
// and seeds only when told so. Each stretch of the lists gives one peer, from a
// random start: distinct peers, old and new ones, in O(want).
func (w *swarm) sample(dst []entry, want int, self peerKey, id [20]byte, withSeeds bool, now int32) []entry {
	n := len(w.leeches)
	if withSeeds {
		n += len(w.seeds)
	}
	if n == 0 || want <= 0 {
		return dst
	}
	k := min(want+1, n) // one more, for the one who asks is likely among them
	start := rand.IntN(n)
	full := len(dst) + want
	for i := 0; i < k && len(dst) < full; i++ {
		lo, hi := i*n/k, (i+1)*n/k
		j := lo
		if hi-lo > 1 {
			j += rand.IntN(hi - lo)
		}
		if j += start; j >= n {
			j -= n
		}
		var e *entry
		if j < len(w.leeches) {
			e = &w.leeches[j]
		} else {
			e = &w.seeds[j-len(w.leeches)]
		}
		if e.expires > now && !e.is(&self, &id) {
			dst = append(dst, *e)
		}
	}
	return dst
}

// ownEntry returns the own peer as the one who asks is to see it, with the
// address local when the peer has none; ok is false when there is no address.
func (w *swarm) ownEntry(local netip.Addr) (entry, bool) {
	addr := w.own.Addr.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = local.Unmap()
	}
	if !addr.IsValid() || addr.IsUnspecified() || w.own.Addr.Port() == 0 {
		return entry{}, false
	}
	return entry{key: makeKey(addr, w.own.Addr.Port()), id: w.own.ID, left: w.own.Left}, true
}
