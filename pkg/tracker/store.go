package tracker

import (
	"sync"
	"sync/atomic"
)

const shardCount = 64

// store finds swarms by infohash. Its locks are held for a map access, those of
// a swarm for a few microseconds, none of them over I/O. Lock order: a shard's
// before a swarm's.
type store struct {
	shards   [shardCount]shard
	torrents atomic.Int64
	peers    atomic.Int64
}

type shard struct {
	mu     sync.RWMutex
	swarms map[[20]byte]*swarm
}

func (s *store) shard(ih [20]byte) *shard {
	return &s.shards[(ih[0]^ih[19])%shardCount]
}

func (s *store) get(ih [20]byte) *swarm {
	sh := s.shard(ih)
	sh.mu.RLock()
	w := sh.swarms[ih]
	sh.mu.RUnlock()
	return w
}

// create returns the swarm of ih, made when it is not there yet and limit (0:
// none) is not reached; nil otherwise.
func (s *store) create(ih [20]byte, limit int, now int32) *swarm {
	sh := s.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.swarms[ih]; w != nil {
		return w
	}
	if n := s.torrents.Add(1); limit > 0 && n > int64(limit) {
		s.torrents.Add(-1)
		return nil
	}
	if sh.swarms == nil {
		sh.swarms = make(map[[20]byte]*swarm)
	}
	w := &swarm{changed: now}
	sh.swarms[ih] = w
	return w
}

// drop forgets a swarm for which cond, called with the swarm's lock held, is
// true.
func (s *store) drop(ih [20]byte, cond func(*swarm) bool) bool {
	sh := s.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w := sh.swarms[ih]
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !cond(w) {
		return false
	}
	w.gone = true
	s.peers.Add(-int64(w.len()))
	s.torrents.Add(-1)
	delete(sh.swarms, ih)
	return true
}

// each calls fn for every swarm that was there when its shard was looked at.
// fn is called without locks.
func (s *store) each(fn func(ih [20]byte, w *swarm)) {
	type item struct {
		ih [20]byte
		w  *swarm
	}
	var items []item
	for i := range s.shards {
		sh := &s.shards[i]
		items = items[:0]
		sh.mu.RLock()
		for ih, w := range sh.swarms {
			items = append(items, item{ih, w})
		}
		sh.mu.RUnlock()
		for _, it := range items {
			fn(it.ih, it.w)
		}
	}
}
