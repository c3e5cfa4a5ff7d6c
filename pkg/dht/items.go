package dht

import (
	"bytes"
	"net/netip"
	"sync"
	"time"
)

// items is the store of BEP 44. Values are kept and given out as the bytes that came.
type items struct {
	mu    sync.Mutex
	keep  time.Duration
	max   int
	per   int // of one address
	m     map[[20]byte]*stored
	by    map[netip.Addr]int // whose they are
	swept time.Time
	pins  map[[20]byte]int // these do not expire and make no room for others
}

type stored struct {
	item    Item // an immutable one has nothing but Value
	mutable bool
	from    netip.AddrPort // zero: this node's own
	expires time.Time
}

func newItems(keep time.Duration) *items {
	return &items{
		keep: keep, max: 4096, per: 512,
		m: make(map[[20]byte]*stored), by: make(map[netip.Addr]int), pins: make(map[[20]byte]int),
	}
}

// put stores a checked item, and says whether it is newer than what was there.
// cas, if not nil, is the number of the one that it is to replace.
func (s *items) put(target [20]byte, it Item, mutable bool, from netip.AddrPort, cas *int64, now time.Time) (newer bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.live(target, now)
	if old != nil && mutable {
		same := it.Seq == old.item.Seq && bytes.Equal(it.Value, old.item.Value)
		switch {
		case it.Seq < old.item.Seq || it.Seq == old.item.Seq && !same:
			return false, ErrOld
		case cas != nil && *cas != old.item.Seq:
			return false, errCAS
		}
		newer = !same
	}
	if old != nil && !newer {
		old.expires = now.Add(s.keep)
		return false, nil
	}
	if old == nil && !s.room(target, from.Addr(), now) {
		return false, errFull
	}
	s.drop(target)
	s.m[target] = &stored{item: it.clone(), mutable: mutable, from: from, expires: now.Add(s.keep)}
	s.by[from.Addr()]++
	return true, nil
}

// get returns what is stored at the target, or nil. It is not changed any more.
func (s *items) get(target [20]byte, now time.Time) *stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.live(target, now); st != nil {
		c := *st
		return &c
	}
	return nil
}

func (s *items) live(target [20]byte, now time.Time) *stored {
	st := s.m[target]
	if st == nil || s.pins[target] == 0 && !now.Before(st.expires) {
		return nil
	}
	return st
}

// room makes room for one more of the address. The one that would expire first goes.
func (s *items) room(target [20]byte, from netip.Addr, now time.Time) bool {
	if s.pins[target] > 0 {
		return true
	}
	if s.by[from] >= s.per {
		s.sweepLocked(now)
		if s.by[from] >= s.per {
			return false
		}
	}
	if len(s.m) < s.max {
		return true
	}
	s.sweepLocked(now)
	var first *stored
	var at [20]byte
	for t, st := range s.m {
		if s.pins[t] == 0 && (first == nil || st.expires.Before(first.expires)) {
			first, at = st, t
		}
	}
	if len(s.m) >= s.max && first != nil {
		s.drop(at)
	}
	return len(s.m) < s.max
}

func (s *items) drop(target [20]byte) {
	st := s.m[target]
	if st == nil {
		return
	}
	delete(s.m, target)
	if s.by[st.from.Addr()]--; s.by[st.from.Addr()] == 0 {
		delete(s.by, st.from.Addr())
	}
}

// pin keeps what is at the target for as long as it is pinned.
func (s *items) pin(target [20]byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live(target, now) == nil {
		s.drop(target)
	}
	s.pins[target]++
}

func (s *items) unpin(target [20]byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[target]--; s.pins[target] > 0 {
		return
	}
	delete(s.pins, target)
	if st := s.m[target]; st != nil {
		st.expires = now.Add(s.keep)
	}
}

// sweep forgets what has expired.
func (s *items) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLocked(now)
}

func (s *items) sweepLocked(now time.Time) {
	if now.Sub(s.swept) < sweepPause {
		return
	}
	s.swept = now
	for t := range s.m {
		if s.live(t, now) == nil {
			s.drop(t)
		}
	}
}

func (s *items) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.m)
}
