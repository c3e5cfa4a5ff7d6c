package node

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"distd/pkg/httpfetch"
)

// PathStatus is what came over the paths of one tier and location, for all
// releases since the daemon has started.
type PathStatus struct {
	Tier     int    `json:"tier"`
	Location string `json:"location,omitempty"`
	Bytes    int64  `json:"bytes"`
	Wasted   int64  `json:"wasted"` // of Bytes
}

// paths adds up what came over each path. Its counts only ever grow, also when
// releases go.
type paths struct {
	mu      sync.Mutex
	running map[*httpfetch.Fetcher]struct{}
	ended   sums
}

// sums are counts by tier and location.
type sums map[pathKey]PathStatus

type pathKey struct {
	tier     int
	location string
}

// Locations are the publisher's words. Those above so many tiers and locations
// are counted together, so that metrics cannot grow without bound.
const (
	maxPaths      = 64
	otherLocation = "(other)"
)

func (s sums) add(st httpfetch.Stats) {
	for _, m := range st.Mirrors {
		key := pathKey{m.Tier, m.Location}
		if _, there := s[key]; !there && len(s) >= maxPaths {
			key = pathKey{0, otherLocation}
		}
		p := s[key]
		p.Tier, p.Location = key.tier, key.location
		p.Bytes += m.Bytes
		p.Wasted += m.Wasted
		s[key] = p
	}
}

// begin counts a fetcher from now on.
func (p *paths) begin(f *httpfetch.Fetcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running, p.ended = map[*httpfetch.Fetcher]struct{}{}, sums{}
	}
	p.running[f] = struct{}{}
}

// end takes over the counts of a fetcher that has ended, and returns its last
// word.
func (p *paths) end(f *httpfetch.Fetcher) httpfetch.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := f.Stats()
	if _, there := p.running[f]; there {
		delete(p.running, f)
		p.ended.add(s)
	}
	return s
}

// totals are the counts as of now, the best tier first.
func (p *paths) totals() []PathStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := maps.Clone(p.ended)
	for f := range p.running {
		all.add(f.Stats())
	}
	return slices.SortedFunc(maps.Values(all), func(a, b PathStatus) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Location, b.Location))
	})
}
