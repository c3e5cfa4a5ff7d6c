package node

import (
	"time"

	"distd/pkg/httpfetch"
)

// Mirror is what one mirror gave for a release, and how it does. Counts are of
// this run of the daemon.
type Mirror struct {
	URL      string `json:"url"` // without credentials and query
	Tier     int    `json:"tier"`
	Location string `json:"location,omitempty"`
	// Bytes came from it, of which Wasted were thrown away.
	Bytes     int64 `json:"bytes"`
	Wasted    int64 `json:"wasted"`
	Requests  int64 `json:"requests"`
	Errors    int64 `json:"errors"`
	BadPieces int64 `json:"bad_pieces"`
	// State is ready, active, standby (while a better tier works), or why it is
	// left alone until RetryAt and then tried with one piece: failing, busy,
	// absent, distrusted, bad bytes.
	State   string    `json:"state"`
	RetryAt time.Time `json:"retry_at,omitzero"`
	Problem string    `json:"problem,omitempty"` // the last one
}

// Good says that the mirror is used, or would be if it were needed.
func (m *Mirror) Good() bool {
	return m.State == "ready" || m.State == "active" || m.State == "standby"
}

// Trusted says that what it sent was what it should be.
func (m *Mirror) Trusted() bool { return m.State != "distrusted" && m.State != "bad bytes" }

// mirrorsOfStats is what a fetcher knows of its mirrors.
func mirrorsOfStats(s httpfetch.Stats) []Mirror {
	var out []Mirror
	for _, m := range s.Mirrors {
		out = merge(out, []Mirror{{URL: m.URL, Tier: m.Tier, Location: m.Location, Bytes: m.Bytes, Wasted: m.Wasted, Requests: m.Requests,
			Errors: m.Errors, BadPieces: m.BadPieces, State: m.State, RetryAt: m.RetryAt, Problem: m.LastError}})
	}
	return out
}

// merge adds to what mirrors gave what they gave later, so that each of them is
// there once. A release may be fetched in several attempts, and a manifest may
// name a mirror twice.
func merge(list, later []Mirror) []Mirror {
	out := append([]Mirror(nil), list...)
next:
	for _, m := range later {
		for i := range out {
			if o := &out[i]; o.URL == m.URL && o.Tier == m.Tier && o.Location == m.Location {
				m.Bytes, m.Wasted, m.Requests = m.Bytes+o.Bytes, m.Wasted+o.Wasted, m.Requests+o.Requests
				m.Errors, m.BadPieces = m.Errors+o.Errors, m.BadPieces+o.BadPieces
				*o = m
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// keepMirrors keeps of a fetcher that has ended what it has to tell.
func (j *job) keepMirrors() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fetcher != nil {
		j.mirrors = merge(j.mirrors, mirrorsOfStats(j.node.paths.end(j.fetcher)))
		j.fetcher = nil
	}
}
