package dht

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of the book.
const (
	maxKnown     = 2048
	maxAtAddr    = 64               // nodes at one address
	goodFor      = 15 * time.Minute // after a node was heard (BEP 5)
	maxFailures  = 2                // in a row, until a node is not good any more
	lastFailures = 6                // until it is forgotten
	freshAfter   = 10 * time.Second // one node is not new more often, whatever it calls itself
)

// book holds the nodes that have answered. A zone is small, so that unlike the
// table of BEP 5 it may hold all of them, near and far.
type book struct {
	mu     sync.Mutex
	own    [20]byte
	m      map[netip.AddrPort]*entry
	by     map[netip.Addr]int
	answer time.Time // the last one of all
}

type entry struct {
	node
	heard  time.Time
	fresh  time.Time // when answered last said so
	failed int       // queries in a row
}

func (e *entry) good(now time.Time) bool {
	return e.failed < maxFailures && now.Sub(e.heard) < goodFor
}

func newBook(own [20]byte) *book {
	return &book{own: own, m: make(map[netip.AddrPort]*entry), by: make(map[netip.Addr]int)}
}

// answered notes that a node has answered, and says whether it was not known as good before.
func (b *book) answered(n node, now time.Time) (fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = now
	if n.id == b.own {
		return false
	}
	e := b.m[n.addr]
	if e == nil {
		if b.by[n.addr.Addr()] >= maxAtAddr || len(b.m) >= maxKnown && !b.makeRoom(now) {
			return false
		}
		e = new(entry)
		b.m[n.addr] = e
		b.by[n.addr.Addr()]++
	}
	fresh = (!e.good(now) || e.id != n.id) && now.Sub(e.fresh) >= freshAfter
	*e = entry{node: n, heard: now, fresh: e.fresh}
	if fresh {
		e.fresh = now
	}
	return fresh
}

// makeRoom forgets a node that is not good, if there is one.
func (b *book) makeRoom(now time.Time) bool {
	for _, e := range b.m {
		if !e.good(now) {
			b.forget(e)
			return true
		}
	}
	return false
}

func (b *book) forget(e *entry) {
	delete(b.m, e.addr)
	if b.by[e.addr.Addr()]--; b.by[e.addr.Addr()] == 0 {
		delete(b.by, e.addr.Addr())
	}
}

// asked notes that a node has sent a query, and says whether it is good. One that
// has never answered is not taken in: anybody can send a query in another's name.
func (b *book) asked(n node, now time.Time) (good bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.m[n.addr]
	if n.id == b.own {
		return true
	}
	if e == nil || e.id != n.id || !e.good(now) {
		return false
	}
	e.heard = now
	return true
}

// knows says whether a node is known at the address, good or not.
func (b *book) knows(a netip.AddrPort) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[a] != nil
}

// silent notes that a node did not answer.
func (b *book) silent(a netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.m[a]; e != nil {
		if e.failed++; e.failed >= lastFailures {
			b.forget(e)
		}
	}
}

// good returns the nodes that are good, the last heard first.
func (b *book) good(now time.Time) []node {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*entry, 0, len(b.m))
	for _, e := range b.m {
		if e.good(now) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return b.heard.Compare(a.heard) })
	out := make([]node, len(list))
	for i, e := range list {
		out[i] = e.node
	}
	return out
}

// count returns how many nodes are good.
func (b *book) count(now time.Time) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.m {
		if e.good(now) {
			n++
		}
	}
	return n
}

// nearest returns the k good nodes nearest to the target for which want is true,
// the nearest first.
func (b *book) nearest(target [20]byte, k int, now time.Time, want func(netip.AddrPort) bool) []node {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]node, 0, k+1)
	for _, e := range b.m {
		if !e.good(now) || !want(e.addr) {
			continue
		}
		if len(out) == k && !nearer(target, e.id, out[k-1].id) {
			continue
		}
		at, _ := slices.BinarySearchFunc(out, e.node, func(a, b node) int {
			if nearer(target, b.id, a.id) {
				return 1
			}
			return -1
		})
		if out = slices.Insert(out, at, e.node); len(out) > k {
			out = out[:k]
		}
	}
	return out
}

// nearer says whether a is nearer to the target than b (BEP 5).
func nearer(target, a, b [20]byte) bool {
	for i, t := range target {
		a[i] ^= t
		b[i] ^= t
	}
	return bytes.Compare(a[:], b[:]) < 0
}

// some returns the near nodes nearest to the target and others at random.
func (b *book) some(target [20]byte, near, others int, now time.Time) []node {
	out := b.nearest(target, near, now, anyNode)
	if others == 0 || len(out) < near {
		return out
	}
	rest := b.good(now)
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	for _, n := range rest {
		if len(out) == near+others {
			break
		}
		if !slices.Contains(out[:near], n) {
			out = append(out, n)
		}
	}
	return out
}

func anyNode(netip.AddrPort) bool { return true }

// stale returns nodes that were not heard for a while.
func (b *book) stale(after time.Duration, most int, now time.Time) (out []netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for a, e := range b.m {
		if now.Sub(e.heard) >= after && len(out) < most {
			out = append(out, a)
		}
	}
	return out
}

func (b *book) size() (known int, answer time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.m), b.answer
}
