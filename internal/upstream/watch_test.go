package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/manifest"
)

// watching runs Watch until stop is called, which returns its error.
func watching(t *testing.T, c *Client, channels ...string) (got *calls, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got = &calls{}
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, channels, got.add) }()
	stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		c.Close()
		return err
	})
	t.Cleanup(func() { _ = stop() })
	return got, stop
}

// stream is an event stream that a test writes to.
type stream struct {
	mu      sync.Mutex
	queries []string
	begin   string // sent first
	out     chan string
}

func (s *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.queries = append(s.queries, r.URL.Path+"?"+r.URL.RawQuery)
	begin := s.begin
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	_, _ = io.WriteString(w, begin)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case text, ok := <-s.out:
			if !ok {
				return
			}
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func (s *stream) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queries)
}

func ev(ch string, serial int) string {
	return fmt.Sprintf("event: release\nid: %s/%d\ndata: {}\n\n", ch, serial)
}

func want(t *testing.T, got *calls, channels string) {
	t.Helper()
	synctest.Wait()
	if s := got.take(); s != channels {
		t.Fatalf("told of %q, want %q", s, channels)
	}
}

func TestWatchEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{begin: "retry: 2000\n\n" + ev("web", 7) + ev("bsd", 1), out: make(chan string)}
		w := newWeb(t, s.ServeHTTP)
		got, stop := watching(t, w.client(t, Options{}))
		want(t, got, "web bsd")
		s.out <- ev("web", 8) + ": ping\n\n" + "event: other\nid: x/1\ndata: {}\n\n" + ev("../evil", 1)
		want(t, got, "web")
		s.out <- ev("new", 1)
		want(t, got, "new")
		for range 10 { // pings keep it alive
			time.Sleep(40 * time.Second)
			s.out <- ": ping\n\n"
		}
		want(t, got, "")
		if s.asked() != 1 || s.queries[0] != "/tree/v1/events?" {
			t.Errorf("asked for %q", s.queries)
		}
		w.cut()
		time.Sleep(time.Second)
		want(t, got, "web bsd new web bsd") // all that is known, then what comes
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	})
}

func TestWatchNamedChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{begin: ev("web", 7) + ev("other", 1), out: make(chan string)}
		got, stop := watching(t, newWeb(t, s.ServeHTTP).client(t, Options{}), "web", "bsd")
		want(t, got, "web bsd web")
		if s.queries[0] != "/tree/v1/events?channel=web&channel=bsd" {
			t.Errorf("asked for %q", s.queries)
		}
		_ = stop()
	})
	c, err := New("http://host", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Watch(t.Context(), []string{"../x"}, nil); err == nil {
		t.Error("a bad name is taken")
	}
}

// TestSilence: a stream without pings is taken for dead after 45 s.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{begin: ev("web", 7), out: make(chan string)}
		got, stop := watching(t, newWeb(t, s.ServeHTTP).client(t, Options{}))
		want(t, got, "web")
		time.Sleep(44 * time.Second)
		want(t, got, "")
		time.Sleep(2 * time.Second)
		want(t, got, "web web")
		if s.asked() != 2 {
			t.Errorf("asked %d times", s.asked())
		}
		_ = stop()
	})
}

// TestReconnectBacksOff: an upstream that is down, or breaks off each time at
// once, is asked less and less often.
func TestReconnectBacksOff(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ev("web", 1))
		},
		"endless line": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 10000)); err != nil {
					return
				}
			}
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/v1/events", 302)
		},
		"down": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWeb(t, h)
				if h == nil {
					_ = w.Close()
				}
				_, stop := watching(t, w.client(t, Options{}))
				time.Sleep(10 * time.Minute)
				w.mu.Lock()
				asked := w.asked
				w.mu.Unlock()
				// 0.5 s doubling to 10 s, each give or take a half.
				if asked < 45 || asked > 130 {
					t.Errorf("asked %d times in 10 minutes", asked)
				}
				_ = stop()
			})
		})
	}
}

// TestFloodIsReadSlowly: events without end cost no more than the limit.
func TestFloodIsReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent int64
		var mu sync.Mutex
		line := []byte(strings.Repeat(": ping\n\n", 2048))
		_, stop := watching(t, newWeb(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				n, err := w.Write(line)
				mu.Lock()
				sent += int64(n)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}).client(t, Options{}))
		time.Sleep(10 * time.Second)
		_ = stop()
		mu.Lock()
		defer mu.Unlock()
		if sent < 1<<20 || sent > streamBurst+12*streamRate {
			t.Errorf("%d bytes taken in 10 s", sent)
		}
	})
}

func TestManyChannelsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		for i := range maxChannels + 500 {
			b.WriteString(ev(fmt.Sprintf("c%d", i), 1))
		}
		s := &stream{begin: b.String(), out: make(chan string)}
		got, stop := watching(t, newWeb(t, s.ServeHTTP).client(t, Options{}))
		synctest.Wait()
		if n := len(strings.Fields(got.take())); n != maxChannels {
			t.Errorf("%d channels followed", n)
		}
		_ = stop()
	})
}

// plain is a web server with files only, which counts what it is asked.
type plain struct {
	mu     sync.Mutex
	events int // status for /v1/events; 0: an HTML page
	tags   bool
	body   string
	asked  map[string]int
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.URL.Path]++
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/events") && p.events != 0:
		w.WriteHeader(p.events)
	case strings.HasSuffix(r.URL.Path, "/v1/events"):
		w.Header().Set("Content-Type", "text/html")
	case r.URL.Path != "/tree/channels/web/latest.json":
		http.NotFound(w, r)
	default:
		if p.tags {
			w.Header().Set("ETag", fmt.Sprintf("%q", p.body))
			if r.Header.Get("If-None-Match") == fmt.Sprintf("%q", p.body) {
				p.asked["304"]++
				w.WriteHeader(304)
				return
			}
		}
		_, _ = io.WriteString(w, p.body)
	}
}

func (p *plain) set(body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = body
}

func (p *plain) times(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[what]
}

func TestPolling(t *testing.T) {
	for _, tc := range []struct {
		status int
		tags   bool
	}{{404, true}, {403, true}, {405, false}, {0, false}} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &plain{events: tc.status, tags: tc.tags, body: "1", asked: map[string]int{}}
				got, stop := watching(t, newWeb(t, p.ServeHTTP).client(t, Options{PollInterval: 10 * time.Second}), "web")
				want(t, got, "web")
				time.Sleep(95 * time.Second)
				want(t, got, "")
				if n := p.times("/tree/channels/web/latest.json"); n < 9 || n > 11 || tc.tags != (p.times("304") > 7) {
					t.Errorf("asked %d times, 304 %d times", n, p.times("304"))
				}
				p.set("2")
				time.Sleep(12 * time.Second)
				want(t, got, "web")
				if n := p.times("/tree/v1/events"); n != 1 {
					t.Errorf("events asked for %d times", n)
				}
				time.Sleep(withoutEvents)
				want(t, got, "")
				if n := p.times("/tree/v1/events"); n != 2 {
					t.Errorf("events asked for %d times", n)
				}
				_ = stop()
			})
		})
	}
}

// TestEventsComeBack: an upstream that is too busy for a listener is polled,
// and listened to when it has a place again.
func TestEventsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plain{events: 503, tags: true, body: "1", asked: map[string]int{}}
		s := &stream{begin: ev("web", 2), out: make(chan string)}
		var mu sync.Mutex
		free := false
		got, stop := watching(t, newWeb(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			f := free
			mu.Unlock()
			if f && strings.HasSuffix(r.URL.Path, "events") {
				s.ServeHTTP(w, r)
				return
			}
			p.ServeHTTP(w, r)
		}).client(t, Options{PollInterval: 10 * time.Second}), "web")
		want(t, got, "web")
		mu.Lock()
		free = true
		mu.Unlock()
		time.Sleep(withoutNow + 15*time.Second)
		want(t, got, "web web")
		_ = stop()
	})
}

// TestHeldBackStream: something in between delivers nothing of the stream, so
// that polling must do.
func TestHeldBackStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plain{tags: true, body: "1", asked: map[string]int{}}
		got, stop := watching(t, newWeb(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "events") {
				w.Header().Set("Content-Type", "text/event-stream")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			p.ServeHTTP(w, r)
		}).client(t, Options{}), "web")
		want(t, got, "web") // on connecting
		time.Sleep(46 * time.Second)
		want(t, got, "web") // the first look
		p.set("2")
		time.Sleep(12 * time.Second)
		want(t, got, "web")
		_ = stop()
	})
}

// TestNothingKnown: without events and names there is nothing to poll; Watch
// goes on asking.
func TestNothingKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plain{events: 404, asked: map[string]int{}}
		got, stop := watching(t, newWeb(t, p.ServeHTTP).client(t, Options{}))
		time.Sleep(10 * time.Minute)
		want(t, got, "")
		if n := p.times("/tree/v1/events"); n < 45 || n > 130 {
			t.Errorf("asked %d times", n)
		}
		_ = stop()
	})
}

// TestPollingBadAnswers: fn hears once of each kind of answer that cannot be a
// pointer, so that its owner can say what is wrong, and of the cure.
func TestPollingBadAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plain{events: 404, body: strings.Repeat("x", manifest.MaxPointer+1), asked: map[string]int{}}
		got, stop := watching(t, newWeb(t, p.ServeHTTP).client(t, Options{PollInterval: 10 * time.Second}), "web", "missing")
		want(t, got, "web missing")
		time.Sleep(95 * time.Second)
		want(t, got, "")
		p.set("1")
		time.Sleep(12 * time.Second)
		want(t, got, "web")
		time.Sleep(95 * time.Second)
		want(t, got, "")
		_ = stop()
	})
}
