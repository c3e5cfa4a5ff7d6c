package lsd

import (
	"net/netip"
	"time"
)

// Bounds of what is heard: messages a second, and how many may come at once. A
// rack that starts together sends one message or two for each node.
const (
	allRate, allBurst       = 100, 500
	sourceRate, sourceBurst = 1, 30

	maxSources = 1024 // whose messages are counted
)

// sieve lets through what comes at a bearable rate, from all and from each.
type sieve struct {
	all     bucket
	sources map[netip.Addr]*bucket
}

// bucket holds what may come at once. Its zero value is full.
type bucket struct {
	used float64
	at   time.Time
}

func (b *bucket) leak(now time.Time, rate float64) {
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*rate)
	b.at = now
}

// pass says whether a message of this source is to be heard.
func (s *sieve) pass(source netip.Addr, now time.Time) bool {
	if s.all.leak(now, allRate); s.all.used > allBurst-1 {
		return false
	}
	b := s.sources[source]
	if b == nil {
		b = s.add(source, now)
	}
	if b.leak(now, sourceRate); b.used > sourceBurst-1 {
		return false
	}
	s.all.used++
	b.used++
	return true
}

// add remembers a source, if there is room: those that have been quiet make it.
// One that is not remembered counts with all only.
func (s *sieve) add(source netip.Addr, now time.Time) *bucket {
	if s.sources == nil {
		s.sources = map[netip.Addr]*bucket{}
	}
	if len(s.sources) >= maxSources {
		for a, old := range s.sources {
			if old.leak(now, sourceRate); old.used == 0 {
				delete(s.sources, a)
			}
		}
	}
	b := &bucket{}
	if len(s.sources) < maxSources {
		s.sources[source] = b
	}
	return b
}
