package httpfetch

import (
	"fmt"
	"net/url"
	"time"
)

// mirror is a Mirror at work. All but the first block is guarded by the
// Fetcher's lock.
type mirror struct {
	Mirror
	index int
	name  string // for logs, statistics and the Sink
	base  *url.URL
	host  string // hostKey of base

	health health
	// limit is how many connections the server was seen to bear; zero when it
	// was not seen to refuse any. It is tried again after limitUntil.
	limit      int
	limitUntil time.Time
	// serial says that the server does not bear requests sent ahead.
	serial bool
	rtt    time.Duration // smallest TCP handshake
	// known are the validators of files that are fetched in several requests,
	// moved the redirects of files, by index.
	known map[int]validator
	moved map[int]*url.URL
	// hops counts redirects of a file since its last right answer.
	hops map[int]int

	bytes, good, wasted     int64
	requests, errors, bads  int64
	lanes                   int
	fruitless               int // connections that failed since its last good piece
	lastErr                 string
	lastErrAt, lastVerified time.Time
}

// maxKnown bounds what is remembered of the files of one mirror.
const maxKnown = 4096

func newMirror(i int, cfg Mirror) (*mirror, error) {
	base, err := parseBase(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("httpfetch: mirror %d: %w", i, err)
	}
	m := &mirror{Mirror: cfg, index: i, name: displayName(base), base: base, host: hostKey(base)}
	m.forget()
	return m, nil
}

// forget drops what was learned about the mirror's files, for when it was wrong
// about them.
func (m *mirror) forget() {
	m.known, m.moved, m.hops = map[int]validator{}, map[int]*url.URL{}, map[int]int{}
}

// hop counts a redirect of a file and is false when there were too many.
func (m *mirror) hop(file int) bool {
	if m.hops[file] >= maxRedirects || len(m.hops) >= maxKnown {
		return false
	}
	m.hops[file]++
	return true
}

// expected is the validator that answers for a file must have.
func (m *mirror) expected(file int) validator {
	if m.ETag != "" || m.LastModified != "" {
		return validator{etag: m.ETag, modified: m.LastModified}
	}
	return m.known[file]
}

func (m *mirror) learn(file int, v validator) {
	if len(m.known) < maxKnown {
		m.known[file] = v
	}
}

// remember keeps where a file was redirected to.
func (m *mirror) remember(file int, to *url.URL) {
	if len(m.moved) < maxKnown {
		m.moved[file] = to
	}
}

// allowed is how many connections the mirror may have now.
func (m *mirror) allowed(now time.Time, most int) int {
	if m.NoRanges {
		return 1
	}
	if m.limit > 0 && now.Before(m.limitUntil) {
		return min(m.limit, most)
	}
	return most
}

// refusedOne notes that the server bears no more connections than it has.
func (m *mirror) refusedOne(now time.Time, working int, wait time.Duration) {
	m.limit = max(1, working)
	m.limitUntil = now.Add(max(wait, 15*time.Second))
}
