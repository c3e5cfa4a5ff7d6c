package httpfetch

import (
	"fmt"
	"net/url"
	"time"
)

const (
	minChunk = 16 << 10
	maxChunk = 256 << 10
	// aheadFloor is how much is requested ahead of what is being received at
	// least.
	aheadFloor = 16 << 10
)

// target is where a new connection goes to.
func (f *Fetcher) target(l *lane) *url.URL {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, to := range l.m.moved {
		return to // most likely all files moved to one host
	}
	return l.m.base
}

func (f *Fetcher) opened(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.open = true
	if rtt := l.conn.rtt; l.m.rtt == 0 || rtt < l.m.rtt {
		l.m.rtt = rtt
	}
	// What is under way should show within two round trips; when it does not, the
	// server's end is waiting for a retransmission.
	l.meter.grace = max(100*time.Millisecond, 2*l.m.rtt)
	l.meter.begin(time.Now())
	f.poke()
}

// waiting notes that a lane has sent a request and nothing is under way to it.
func (f *Fetcher) waiting(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.meter.last = time.Now()
}

// nextRun is the run of which the lane requests bytes next, or nil. It may wait
// for one.
func (f *Fetcher) nextRun(l *lane, wait bool) *run {
	for {
		f.mu.Lock()
		bell := f.bell
		r, claim := f.pick(l, time.Now())
		f.claiming += claim
		f.mu.Unlock()
		switch {
		case r != nil:
			return r
		case claim > 0 && f.claim(l.m, claim):
		case !wait || !f.rest(l, bell):
			return nil
		}
	}
}

// pick finds work for a lane: the rest of its run, or a gap. With none it says
// how many pieces are to be claimed.
func (f *Fetcher) pick(l *lane, now time.Time) (r *run, claim int) {
	if n := len(l.runs); n > 0 && l.runs[n-1].asked < l.runs[n-1].end {
		return l.runs[n-1], 0
	}
	trial := l.m.health.onTrial()
	if l.retired || l.aborted || !f.permitted(l.m) || trial && len(l.runs) > 0 {
		return nil, 0
	}
	want := f.want(l, now)
	switch {
	case l.m.NoRanges:
		want = f.lay.Total
	case trial:
		want = f.lay.PieceLength
	}
	if r := f.board.take(want); r != nil {
		l.runs = append(l.runs, r)
		return r, 0
	}
	switch {
	case now.Before(f.dry):
		return nil, 0
	case l.m.NoRanges:
		return nil, f.lay.NumPieces()
	case trial:
		return nil, 1
	case f.narrow():
		if int64(len(f.board.pieces)+f.claiming) >= max(1, f.cfg.Memory/f.lay.PieceLength) {
			return nil, 0
		}
		return nil, 1
	}
	return nil, int((want + f.lay.PieceLength - 1) / f.lay.PieceLength)
}

// narrow says that memory does not allow each connection a piece of its own:
// few pieces are claimed then, and several connections share one.
func (f *Fetcher) narrow() bool {
	return 2*int64(max(len(f.lanes), f.growth.target))*f.lay.PieceLength > f.cfg.Memory
}

// want is how many bytes to give a lane.
func (f *Fetcher) want(l *lane, now time.Time) int64 {
	var total float64
	for o := range f.lanes {
		if !o.idle {
			total += o.meter.at(now)
		}
	}
	left := f.lay.Total - f.done64
	if f.sharer != nil {
		left = f.sharer.Share()
	}
	n := runSize(f.rateOf(l, now), total, l.m.rtt, max(0, left-f.board.unreceived()))
	if f.narrow() {
		// All connections are to find a part of the few pieces.
		n = min(n, max(minRun, max(f.cfg.Memory, f.lay.PieceLength)/int64(2*len(f.lanes))))
	}
	return n
}

// claim asks the Sink for the pieces that were announced in claiming, which
// become a gap. The lock is not held.
func (f *Fetcher) claim(m *mirror, want int) bool {
	f.mu.Lock()
	before := f.changes
	f.mu.Unlock()
	first, n := f.sink.Claim(m.name, want)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claiming -= want
	if n <= 0 {
		if f.changes == before { // else the answer may be out of date
			f.dry = time.Now().Add(dryTime)
		}
		return false
	}
	f.board.add(first, n)
	if f.narrow() {
		f.ring()
	}
	return true
}

// rest lets a lane wait until there may be work for it, after trying to relieve
// another. It is false when the lane is to end.
func (f *Fetcher) rest(l *lane, bell <-chan struct{}) bool {
	f.mu.Lock()
	now := time.Now()
	if l.retired || !f.permitted(l.m) {
		f.mu.Unlock()
		return false
	}
	if r, ok := f.relieve(l, now); ok && f.take(l, r) {
		f.mu.Unlock()
		return true
	}
	if !l.idle {
		l.idle, l.idleAt = true, now
	}
	f.hungry = true
	f.mu.Unlock()
	select {
	case <-l.ctx.Done():
		return false
	case <-bell:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l.meter.begin(time.Now())
	return l.ctx.Err() == nil
}

// relief is a run that a connection without work could take a part of.
type relief struct {
	victim *lane
	run    *run
	cut    int64
	abort  bool
}

// relieve finds the run that would take the longest, and what of it the lane
// would better do itself.
func (f *Fetcher) relieve(l *lane, now time.Time) (relief, bool) {
	if l.m.health.onTrial() {
		return relief{}, false
	}
	rate := l.meter.rate
	mean := f.meanRate(now)
	if rate == 0 {
		rate = mean
	}
	// What is worst may be requested only and not to be split; then the one that
	// is being received and holds it up may be.
	var candidates [2]relief
	var worst [2]progress
	for o := range f.lanes {
		if o.aborted || o.busy || o == l {
			continue
		}
		for i, p := range f.progress(o, now, mean) {
			for k := range candidates {
				if p.pos < p.end && (k == 0 || p.ahead == 0) && (candidates[k].victim == nil || p.finish() > worst[k].finish()) {
					candidates[k], worst[k] = relief{victim: o, run: o.runs[i]}, p
				}
			}
		}
	}
	for k, r := range candidates {
		if r.victim == nil || !now.Before(f.dry) && worst[k].finish() < stuckTime {
			continue
		}
		var ok bool
		if r.cut, r.abort, ok = split(worst[k], rate, l.m.rtt+20*time.Millisecond); ok {
			return r, true
		}
	}
	return relief{}, false
}

// take carries a relief out. It is false when the lane got nothing at once.
func (f *Fetcher) take(l *lane, r relief) bool {
	if r.abort {
		f.abort(r.victim)
		return false // its rest becomes a gap in a moment, and the bell rings
	}
	n := f.board.split(r.run, r.cut)
	if n == nil {
		return false
	}
	l.runs = append(l.runs, n)
	l.idle = false
	return true
}

// progress describes the runs of a lane.
func (f *Fetcher) progress(l *lane, now time.Time, mean float64) []progress {
	ps := make([]progress, len(l.runs))
	rate := l.meter.rate
	if rate == 0 {
		rate = mean
	}
	var ahead int64
	for i, r := range l.runs {
		ps[i] = progress{pos: r.pos, busy: r.busy, asked: r.asked, end: r.end, rate: rate, ahead: ahead, stall: l.meter.stall(now)}
		ahead += r.end - r.pos
	}
	return ps
}

// rateOf is the rate of a lane, or what can be expected of it when it is new: on a
// slow line much that is asked for at once is long under way.
func (f *Fetcher) rateOf(l *lane, now time.Time) float64 {
	if l.meter.rate == 0 {
		return f.meanRate(now)
	}
	return l.meter.at(now)
}

// meanRate is the mean rate of the lanes that have one.
func (f *Fetcher) meanRate(now time.Time) float64 {
	var sum float64
	n := 0
	for l := range f.lanes {
		if l.meter.rate > 0 && !l.idle {
			sum += l.meter.at(now)
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// nextAsk makes the request for the next bytes of a run, which lie in one file.
func (f *Fetcher) nextAsk(l *lane, r *run) (*ask, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := r.end - r.asked
	if !l.m.serial && !l.m.NoRanges {
		n = min(n, askSize(f.rateOf(l, time.Now()), l.m.rtt))
	}
	for s := range f.lay.Segments(r.asked, n) {
		file := f.lay.Files[s.File]
		u := l.m.moved[s.File]
		if u == nil {
			var err error
			if u, err = l.m.fileURL(l.m.base, file.Path); err != nil {
				return nil, &fault{class: absent, err: err}
			}
		}
		return &ask{run: r, file: s.File, off: s.Offset, n: s.Length, size: file.Length, url: u, known: l.m.expected(s.File)}, nil
	}
	return nil, fmt.Errorf("no bytes at offset %d", r.asked) // not reached: a run has bytes
}

// asked notes that a request is being sent.
func (f *Fetcher) asked(l *lane, a *ask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.idle = false
	a.run.asked += a.n
}

// window is where the next bytes of a run go, at most left, and the rate at which
// they come.
func (f *Fetcher) window(l *lane, r *run, left int64) (dst []byte, rate float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	chunk := max(minChunk, min(int64(l.meter.rate/20), maxChunk, left))
	return f.board.window(r, int(min(chunk, left))), l.meter.rate
}

// got accounts for n bytes read into a run's window. It returns the piece that
// is whole with them.
func (f *Fetcher) got(l *lane, r *run, n int, now time.Time) *piece {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.firstAt.IsZero() {
		l.firstAt = now
	}
	l.meter.add(now, n)
	l.m.bytes += int64(n)
	f.got64 += int64(n)
	p := f.board.advance(r, l.m.index, n)
	l.prune()
	return p
}

// prune forgets runs that are at their end.
func (l *lane) prune() {
	for len(l.runs) > 0 && l.runs[0].pos >= l.runs[0].end {
		delete(l.f.board.runs, l.runs[0])
		l.runs = l.runs[1:]
	}
}

// wantsAhead says whether the lane should request more before what it has
// requested is received, so that the line does not fall silent for a round trip.
func (f *Fetcher) wantsAhead(l *lane) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.m.serial || l.m.NoRanges || l.retired || l.aborted || l.m.health.onTrial() || l.m.requests < 2 {
		return false
	}
	var out int64
	for _, r := range l.runs {
		out += min(r.asked, r.end) - r.pos
	}
	return out < aheadFloor+int64(1.5*l.meter.at(time.Now())*l.m.rtt.Seconds())
}
