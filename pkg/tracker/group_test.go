package tracker

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// grouped runs a Group in a bubble until test returns.
func grouped(t *testing.T, test func(g *Group, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		defer stop()
		test(g, stop)
	})
}

// manyTrackers counts what the members of a Group ask, by torrent and second.
type manyTrackers struct {
	mu       sync.Mutex
	start    time.Time
	events   map[[20]byte][]string
	seconds  map[int]int // announces begun
	underWay int
	most     int
	hang     func(r *Request) bool
}

func newManyTrackers() *manyTrackers {
	return &manyTrackers{start: time.Now(), events: map[[20]byte][]string{}, seconds: map[int]int{}}
}

func (m *manyTrackers) announce(ctx context.Context, _ *url.URL, r *Request) (*Response, error) {
	m.mu.Lock()
	m.events[r.InfoHash] = append(m.events[r.InfoHash], r.Event.String())
	m.seconds[int(time.Since(m.start)/time.Second)]++
	m.underWay++
	m.most = max(m.most, m.underWay)
	hang := m.hang != nil && m.hang(r)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.underWay--
		m.mu.Unlock()
	}()
	wait := time.Millisecond
	if hang {
		wait = httpTimeout
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if hang {
		return nil, errors.New("no answer")
	}
	return &Response{Interval: 10 * time.Minute, MinInterval: 10 * time.Minute}, nil
}

// told returns the torrents that were announced with the event.
func (m *manyTrackers) told(event string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, events := range m.events {
		for _, e := range events {
			if e == event {
				n++
			}
		}
	}
	return n
}

func (m *manyTrackers) of(a *Announcer) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.events[a.cfg.InfoHash], " ")
}

// member makes the Announcer of torrent i.
func (m *manyTrackers) member(i int, left int64) *Announcer {
	return NewAnnouncer(AnnouncerConfig{
		Tiers: [][]string{{"http://a/announce"}}, InfoHash: testHash(i),
		Stats: func() Stats { return Stats{Left: left} }, announce: m.announce,
	})
}

// TestGroupSpreadsAnnounces: a thousand seeded torrents neither announce all at
// once nor cost a goroutine each, and a download does not wait behind them.
func TestGroupSpreadsAnnounces(t *testing.T) {
	grouped(t, func(g *Group, stop func()) {
		const n = 1000
		net := newManyTrackers()
		for i := range n {
			g.Add(net.member(i, 0))
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		leech := net.member(n, 1)
		g.Add(leech)
		time.Sleep(10 * time.Millisecond)
		if got := net.of(leech); got != "started" {
			t.Errorf("the download waits behind the seeds: %q", got)
		}
		leech.Completed()
		time.Sleep(10 * time.Millisecond)
		if got := net.of(leech); got != "started completed" {
			t.Errorf("its completion waits behind the seeds: %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := net.told("started"); got != n+1 {
			t.Errorf("%d of %d torrents are announced after a minute", got, n+1)
		}
		if now := runtime.NumGoroutine(); now > before {
			t.Errorf("%d goroutines more than with nothing under way", now-before)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for second, k := range net.seconds {
			if k > 23 {
				t.Errorf("%d announces in second %d", k, second)
			}
		}
		if net.most > maxHasty+maxCalm {
			t.Errorf("%d announces at once", net.most)
		}
		stop()
		if got := net.told("stopped"); got != n+1 {
			t.Errorf("%d of %d torrents are said to stop", got, n+1)
		}
	})
}

func TestGroupRemove(t *testing.T) {
	grouped(t, func(g *Group, stop func()) {
		net := newManyTrackers()
		a, b := net.member(1, 0), net.member(2, 0)
		g.Add(a)
		g.Add(b)
		time.Sleep(time.Second)
		g.Remove(a)
		g.Remove(a) // again: does nothing
		a.Completed()
		time.Sleep(time.Hour)
		if got := net.of(a); got != "started stopped" {
			t.Errorf("removed: %q", got)
		}
		if got := net.of(b); !strings.HasPrefix(got, "started  ") || strings.Contains(got, "stopped") {
			t.Errorf("the other: %q", got)
		}
		stop()
		g.Remove(b)
		if got := net.of(b); strings.Count(got, "stopped") != 1 {
			t.Errorf("after the end: %q", got)
		}
		if len(g.members)+len(g.calm.due)+len(g.hasty.due) > 0 {
			t.Error("something is left")
		}
	})
}

// TestGroupRemoveInFlight: an announce under way is given up, and the tracker,
// which may have heard it, told of the stop.
func TestGroupRemoveInFlight(t *testing.T) {
	grouped(t, func(g *Group, _ func()) {
		net := newManyTrackers()
		net.hang = func(r *Request) bool { return true }
		a := net.member(1, 1)
		g.Add(a)
		synctest.Wait()
		start := time.Now()
		g.Remove(a)
		if d := time.Since(start); d != stopGrace || net.of(a) != "started stopped" {
			t.Errorf("%q, after %v", net.of(a), d)
		}
	})
}

// TestGroupHungTracker: announces to a tracker that does not answer do not pile
// up, and leave room for downloads.
func TestGroupHungTracker(t *testing.T) {
	grouped(t, func(g *Group, stop func()) {
		net := newManyTrackers()
		net.hang = func(r *Request) bool { return r.Stats.Left == 0 }
		for i := range 100 {
			g.Add(net.member(i, 0))
		}
		time.Sleep(10 * time.Second)
		leech := net.member(200, 1)
		g.Add(leech)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := net.of(leech); got != "started" {
			t.Errorf("the download waits: %q", got)
		}
		if net.most > maxCalm+1 {
			t.Errorf("%d announces at once", net.most)
		}
		start := time.Now()
		stop()
		if d := time.Since(start); d > stopGrace {
			t.Errorf("stopped after %v", d)
		}
	})
}

// TestGroupCompletedInFlight: what is completed while an announce is under way
// is told right after it.
func TestGroupCompletedInFlight(t *testing.T) {
	grouped(t, func(g *Group, _ func()) {
		net := newManyTrackers()
		hang := true
		net.hang = func(*Request) bool { return hang }
		a := net.member(1, 1)
		g.Add(a)
		time.Sleep(time.Second)
		a.Completed()
		net.mu.Lock()
		hang = false
		net.mu.Unlock()
		time.Sleep(time.Minute)
		if got := net.of(a); got != "started started completed" {
			t.Errorf("%q", got)
		}
	})
}

// BenchmarkGroupMember shows what a torrent that is announced costs.
func BenchmarkGroupMember(b *testing.B) {
	g, client := NewGroup(), newHTTPClient()
	b.ReportAllocs()
	for i := range b.N {
		g.Add(NewAnnouncer(AnnouncerConfig{
			Tiers: [][]string{{"http://seed:6969/announce"}}, InfoHash: testHash(i),
			Stats: func() Stats { return Stats{} }, HTTPClient: client,
		}))
	}
}
