package httpfetch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// Which connections there are: how many, to whom, and which of them end.

// load is what decides how many connections there should be.
func (f *Fetcher) load(now time.Time) load {
	l := load{now: now, bytes: f.got64, hungry: f.hungry, limit: f.cfg.MaxConns}
	seen := map[string]bool{}
	room := 0
	for _, m := range f.mirrors {
		if !f.permitted(m) || m.health.onTrial() {
			continue
		}
		l.rtt = max(l.rtt, m.rtt)
		most := m.allowed(now, f.cfg.MaxConnsPerHost)
		if most < f.cfg.MaxConnsPerHost || !seen[m.host] {
			room += most
		}
		seen[m.host] = true
	}
	l.limit = max(1, min(l.limit, room))
	for lane := range f.lanes {
		if lane.open && !lane.m.health.onTrial() {
			l.conns++
		}
	}
	return l
}

// spawn adds connections until there are as many as there should be, and those
// of mirrors on trial, which come on top of any cap.
func (f *Fetcher) spawn(now time.Time, target int, seats []seat) {
	for f.workLikely(now) {
		i := nextSeat(seats, target)
		if i < 0 {
			return
		}
		seats[i].lanes++
		f.start(f.mirrors[i], now)
	}
}

// workLikely says whether another connection would find something to do.
func (f *Fetcher) workLikely(now time.Time) bool {
	if len(f.board.gaps) > 0 {
		return true
	}
	mean := f.meanRate(now)
	stuck, dialling := false, false
	for l := range f.lanes {
		if l.idle {
			return false
		}
		dialling = dialling || !l.open
		for _, p := range f.progress(l, now, mean) {
			stuck = stuck || p.finish() > 3*time.Second
		}
	}
	if !now.Before(f.dry) {
		return len(f.lanes) > 0
	}
	return stuck && !dialling
}

func (f *Fetcher) start(m *mirror, now time.Time) {
	ctx, cancel := context.WithCancel(f.ctx)
	l := &lane{f: f, m: m, ctx: ctx, cancel: cancel}
	l.meter.begin(now)
	f.lanes[l] = struct{}{}
	m.lanes++
	f.wg.Go(func() {
		defer cancel()
		f.ended(l, l.work())
	})
}

// retire ends connections that are too many or have had nothing to do for
// long, and those to mirrors that may not be used any more.
func (f *Fetcher) retire(now time.Time, target int) {
	var normal []*lane
	for l := range f.lanes {
		switch {
		case l.retired:
		case !f.permitted(l.m), l.idle && now.Sub(l.idleAt) > idleTime:
			l.retired = true
		case !l.m.health.onTrial():
			normal = append(normal, l)
		}
	}
	if len(normal) > target {
		slices.SortFunc(normal, func(a, b *lane) int { return cmp.Compare(a.worth(now), b.worth(now)) })
		for _, l := range normal[:len(normal)-target] {
			l.retired = true
		}
	}
	f.ringRetired()
}

// worth orders lanes by how much would be lost with them.
func (l *lane) worth(now time.Time) float64 {
	if l.idle {
		return -1
	}
	return l.meter.at(now)
}

func (f *Fetcher) ringRetired() {
	for l := range f.lanes {
		if l.retired && l.idle {
			f.ring()
			return
		}
	}
}

// cull ends a connection that has fallen far below its siblings, so that a new
// one takes its place.
func (f *Fetcher) cull(now time.Time) {
	if now.Sub(f.culled) < cullTime {
		return
	}
	f.culled = now
	for _, m := range f.mirrors {
		var rates []float64
		var worst *lane
		for l := range f.lanes {
			old := !l.firstAt.IsZero() && now.Sub(l.firstAt) > 3*time.Second+20*m.rtt
			if l.m != m || l.idle || l.busy || l.aborted || !old {
				continue
			}
			r := l.meter.at(now)
			rates = append(rates, r)
			if worst == nil || r < worst.meter.at(now) {
				worst = l
			}
		}
		if len(rates) < 4 {
			continue
		}
		slices.Sort(rates)
		if worst.meter.at(now) < rates[len(rates)/2]/8 {
			f.abort(worst)
		}
	}
}

// abort ends a lane at once; what it has not received goes to others.
func (f *Fetcher) abort(l *lane) {
	l.aborted = true
	l.cancel()
}

// ended takes back what a lane had and judges how it ended.
func (f *Fetcher) ended(l *lane, err error) {
	f.mu.Lock()
	var drop []int
	for _, r := range l.runs {
		drop = append(drop, f.board.release(r)...)
	}
	l.runs = nil
	delete(f.lanes, l)
	l.m.lanes--
	if err != nil && l.ctx.Err() == nil && !errors.Is(err, errPaused) {
		f.failed(l, asFault(err))
	}
	f.ring()
	f.mu.Unlock()
	slices.Sort(drop)
	f.unclaim(drop)
	f.poke()
}
