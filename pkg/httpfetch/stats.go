package httpfetch

import (
	"cmp"
	"slices"
	"time"
)

// Stats is the state of a Fetcher at one moment.
type Stats struct {
	Mirrors []MirrorStats `json:"mirrors"`
	Tiers   []TierStats   `json:"tiers"` // best first
	Tier    int           `json:"tier"`  // the worst that is in use
	Conns   int           `json:"conns"`
	Rate    float64       `json:"rate"` // bytes/s received
	// Paused is the error of this node's disk that downloading waits for to go
	// away, or "".
	Paused string `json:"paused,omitempty"`
}

// MirrorStats is the state of one mirror.
type MirrorStats struct {
	URL      string `json:"url"` // without credentials and query
	Tier     int    `json:"tier"`
	Location string `json:"location,omitempty"`
	// State is "ready", "active", "standby" while a better tier works, or why it is
	// left alone, or tried again with one piece: "failing", "busy", "absent",
	// "distrusted", "bad bytes".
	State string  `json:"state"`
	Conns int     `json:"conns"`
	Rate  float64 `json:"rate"` // bytes/s
	// Bytes came from the mirror, Verified of them were in pieces that verified,
	// Wasted were thrown away.
	Bytes     int64     `json:"bytes"`
	Verified  int64     `json:"verified"`
	Wasted    int64     `json:"wasted"`
	Requests  int64     `json:"requests"`
	Errors    int64     `json:"errors"`
	BadPieces int64     `json:"bad_pieces"`
	LastError string    `json:"last_error,omitempty"`
	RetryAt   time.Time `json:"retry_at,omitzero"` // when it is tried again
}

// TierStats sums up the mirrors of one tier.
type TierStats struct {
	Tier     int   `json:"tier"`
	Bytes    int64 `json:"bytes"`
	Verified int64 `json:"verified"`
	Conns    int   `json:"conns"`
}

// Stats returns the present state. It may be called at any time.
func (f *Fetcher) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	s := Stats{Tier: f.tier, Conns: len(f.lanes)}
	if f.paused != nil {
		s.Paused = f.paused.Error()
	}
	rates := f.rates(now)
	byTier := map[int]*TierStats{}
	for _, m := range f.mirrors {
		st := MirrorStats{
			URL: m.name, Tier: m.Tier, Location: m.Location, State: f.state(m), Conns: m.lanes, Rate: rates[m.index],
			Bytes: m.bytes, Verified: m.good, Wasted: m.wasted, Requests: m.requests, Errors: m.errors, BadPieces: m.bads, LastError: m.lastErr,
		}
		if m.health.until.After(now) {
			st.RetryAt = m.health.until
		}
		s.Rate += st.Rate
		s.Mirrors = append(s.Mirrors, st)
		t := byTier[m.Tier]
		if t == nil {
			t = &TierStats{Tier: m.Tier}
			byTier[m.Tier] = t
		}
		t.Bytes += m.bytes
		t.Verified += m.good
		t.Conns += m.lanes
	}
	for _, t := range byTier {
		s.Tiers = append(s.Tiers, *t)
	}
	slices.SortFunc(s.Tiers, func(a, b TierStats) int { return cmp.Compare(a.Tier, b.Tier) })
	return s
}

// state is the word for a mirror's condition.
func (f *Fetcher) state(m *mirror) string {
	switch {
	case m.health.onTrial(): // until a piece verifies, also while it is tried again
		return m.health.class.String()
	case m.lanes > 0:
		return "active"
	case m.Tier > f.tier:
		return "standby"
	}
	return "ready"
}

// rates are the present rates of the mirrors, in bytes/s.
func (f *Fetcher) rates(now time.Time) []float64 {
	r := make([]float64, len(f.mirrors))
	for l := range f.lanes {
		if !l.idle {
			r[l.m.index] += l.meter.at(now)
		}
	}
	return r
}
