package tracker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeTrackers stands for the network of an Announcer: by host, what each
// tracker answers, and what it was asked.
type fakeTrackers struct {
	mu     sync.Mutex
	answer map[string]func(r *Request) (*Response, error)
	log    []string // "second host event"
	start  time.Time
	delay  time.Duration
}

func (f *fakeTrackers) announce(ctx context.Context, u *url.URL, r *Request) (*Response, error) {
	f.mu.Lock()
	f.log = append(f.log, fmt.Sprintf("%d %s %s", int(time.Since(f.start)/time.Second), u.Host, r.Event))
	answer := f.answer[u.Host]
	f.mu.Unlock()
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if answer == nil {
		return nil, errors.New("connection refused")
	}
	return answer(r)
}

func (f *fakeTrackers) set(host string, answer func(r *Request) (*Response, error)) {
	f.mu.Lock()
	f.answer[host] = answer
	f.mu.Unlock()
}

// take returns the log and clears it.
func (f *fakeTrackers) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.log
	f.log = nil
	return l
}

func fixed(resp Response) func(*Request) (*Response, error) {
	return func(*Request) (*Response, error) { r := resp; return &r, nil }
}

var quiet = Response{Interval: 100 * time.Second, MinInterval: 100 * time.Second}

// announcing runs an Announcer against f in a bubble until test returns.
func announcing(t *testing.T, f *fakeTrackers, cfg AnnouncerConfig, test func(a *Announcer, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		f.start, f.log = time.Now(), nil
		cfg.announce = f.announce
		a := NewAnnouncer(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		defer stop()
		synctest.Wait()
		test(a, stop)
	})
}

func expect(t *testing.T, f *fakeTrackers, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := f.take(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestAnnouncerEvents(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){"a": fixed(quiet)}}
	cfg := AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}}}
	announcing(t, f, cfg, func(a *Announcer, stop func()) {
		expect(t, f, "0 a started")
		time.Sleep(99 * time.Second)
		expect(t, f)
		time.Sleep(12 * time.Second) // the interval and a tenth
		if got := f.take(); len(got) != 1 || !strings.HasSuffix(got[0], " a ") {
			t.Errorf("asked %q", got)
		}
		a.Completed()
		expect(t, f, "111 a completed")
		a.Completed()
		time.Sleep(99 * time.Second)
		expect(t, f)
		stop()
		expect(t, f, "210 a stopped")
	})
}

func TestAnnouncerCompletedBeforeTheTrackerAnswers(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){}}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"udp://a:1"}}}, func(a *Announcer, _ func()) {
		a.Completed()
		expect(t, f, "0 a:1 started")
		f.set("a:1", fixed(quiet))
		time.Sleep(5 * time.Second)
		got := f.take()
		if len(got) != 2 || !strings.HasSuffix(got[0], "started") || !strings.HasSuffix(got[1], "completed") {
			t.Errorf("asked %q", got)
		}
	})
}

func TestAnnouncerTiers(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){"c": fixed(quiet)}}
	cfg := AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}, {"http://b/announce", "http://c/announce", "http://a/announce"}}}
	announcing(t, f, cfg, func(a *Announcer, stop func()) {
		got := f.take()
		if got[0] != "0 a started" || got[len(got)-1] != "0 c started" {
			t.Errorf("asked %q", got)
		}
		st := a.Status()
		if len(st) != 3 || st[1].URL != "http://c/announce" || st[0].Failures != 1 || !strings.Contains(st[0].Error, "refused") || st[1].LastSuccess.IsZero() {
			t.Errorf("success is not at the front of its tier: %+v", st)
		}
		// The better tier is asked first again, and when it is back it is enough.
		f.set("a", fixed(quiet))
		time.Sleep(111 * time.Second)
		synctest.Wait()
		if got := f.take(); len(got) != 1 || !strings.Contains(got[0], " a started") {
			t.Errorf("asked %q", got)
		}
		stop()
		got = f.take() // both believe that we are there
		slices.Sort(got)
		if len(got) != 2 || !strings.HasSuffix(got[0], "a stopped") || !strings.HasSuffix(got[1], "c stopped") {
			t.Errorf("asked %q", got)
		}
	})
}

func TestAnnouncerBacksOff(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){}}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}}}, func(a *Announcer, stop func()) {
		time.Sleep(time.Hour)
		if n := len(f.take()); n < 12 || n > 30 {
			t.Errorf("%d attempts in an hour", n)
		}
		if st := a.Status()[0]; st.Failures < 12 || time.Until(st.Next) > 7*time.Minute {
			t.Errorf("%+v", st)
		}
		stop()
		if got := f.take(); len(got) != 0 {
			t.Errorf("a tracker that never answered is told: %q", got)
		}
	})
}

func TestAnnouncerObeysRetryIn(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){
		"a": func(*Request) (*Response, error) {
			return nil, &FailureError{Reason: "busy", RetryIn: 20 * time.Minute}
		},
		"b": func(*Request) (*Response, error) { return nil, &FailureError{Reason: "go away", Never: true} },
		"c": func(*Request) (*Response, error) { return nil, &statusError{503, 30 * time.Minute} },
	}}
	cfg := AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}, {"http://b/announce"}, {"http://c/announce"}, {"gopher://d"}}}
	announcing(t, f, cfg, func(a *Announcer, _ func()) {
		expect(t, f, "0 a started", "0 b started", "0 c started")
		time.Sleep(19 * time.Minute)
		expect(t, f)
		time.Sleep(2 * time.Minute)
		expect(t, f, "1200 a started")
		time.Sleep(10 * time.Minute)
		expect(t, f, "1800 c started")
		st := a.Status()
		if !strings.Contains(st[1].Error, "go away") || !strings.Contains(st[3].Error, "neither http") {
			t.Errorf("%+v", st)
		}
	})
}

func TestAnnouncerWithNothingToAsk(t *testing.T) {
	f := &fakeTrackers{}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{}, {"nonsense"}}}, func(a *Announcer, _ func()) {
		a.Completed()
		time.Sleep(time.Hour)
		expect(t, f)
	})
}

func TestAnnouncerIsEagerInAYoungSwarm(t *testing.T) {
	few := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}
	var size, left atomic.Int64
	size.Store(2)
	left.Store(5)
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){
		"a": func(*Request) (*Response, error) {
			return &Response{Interval: 200 * time.Second, MinInterval: 5 * time.Second, Leeches: int(size.Load()), Peers: few}, nil
		}}}
	var got []netip.AddrPort
	cfg := AnnouncerConfig{
		Tiers: [][]string{{"http://a/announce"}},
		Stats: func() Stats { return Stats{Left: left.Load()} }, Peers: func(p []netip.AddrPort) { got = append(got, p...) },
	}
	announcing(t, f, cfg, func(a *Announcer, _ func()) {
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if n := len(f.take()); n != 3 { // 0, 5, 10: the min interval
			t.Errorf("%d announces in 12 seconds", n)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := len(f.take()); n < 6 || n > 11 { // 8, 16, ... 200, 200
			t.Errorf("%d announces in 20 minutes of quiet", n)
		}
		size.Store(3)
		time.Sleep(250 * time.Second)
		synctest.Wait()
		if n := len(f.take()); n < 4 {
			t.Errorf("%d announces after the swarm has grown", n)
		}
		if len(got) < 10 || got[0] != few[0] {
			t.Errorf("peers handed over: %v", got)
		}
		left.Store(0)
		size.Store(4)
		time.Sleep(250 * time.Second)
		f.take()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := len(f.take()); n > 6 {
			t.Errorf("%d announces of a seed in 20 minutes", n)
		}
	})
}

func TestAnnouncerTakesIntervalForMinInterval(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){
		"a": fixed(Response{Interval: 100 * time.Second}), "b": fixed(Response{})}}
	for _, tt := range []struct{ host, wait string }{{"a", "100"}, {"b", "300"}} {
		announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"http://" + tt.host + "/announce"}}}, func(*Announcer, func()) {
			time.Sleep(99 * time.Second)
			expect(t, f, "0 "+tt.host+" started")
			if d, _ := time.ParseDuration(tt.wait + "s"); d > 100*time.Second {
				time.Sleep(200 * time.Second)
				expect(t, f)
			}
			time.Sleep(32 * time.Second)
			if n := len(f.take()); n != 1 {
				t.Errorf("%s: %d announces", tt.host, n)
			}
		})
	}
}

func TestAnnouncerSendsTrackerIDBack(t *testing.T) {
	var ids []string
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){
		"a": func(r *Request) (*Response, error) {
			ids = append(ids, r.trackerID)
			return &Response{Interval: time.Second, trackerID: "abc"}, nil
		}}}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}}}, func(*Announcer, func()) {
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		if !slices.Equal(ids, []string{"", "abc"}) {
			t.Errorf("%q", ids)
		}
	})
}

func TestAnnouncerStopsAfterAnInterruptedStart(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){"a": fixed(quiet)}, delay: time.Second}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}}}, func(_ *Announcer, stop func()) {
		stop()
		expect(t, f, "0 a started", "0 a stopped")
	})
}

func TestAnnouncerStopsInTime(t *testing.T) {
	f := &fakeTrackers{answer: map[string]func(*Request) (*Response, error){"a": fixed(quiet)}}
	announcing(t, f, AnnouncerConfig{Tiers: [][]string{{"http://a/announce"}}}, func(_ *Announcer, stop func()) {
		f.mu.Lock()
		f.delay = time.Hour // from now on it hangs
		f.mu.Unlock()
		start := time.Now()
		stop()
		if d := time.Since(start); d != stopGrace {
			t.Errorf("stopped after %v", d)
		}
	})
}
