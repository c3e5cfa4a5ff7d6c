package httpfetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"distd/internal/layout"
)

// counter notes the requests of a handler with their virtual times.
type counter struct {
	mu    sync.Mutex
	times []time.Time
	paths []string
	bytes int64
}

func (c *counter) wrap(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.times = append(c.times, time.Now())
		c.paths = append(c.paths, r.URL.Path)
		c.mu.Unlock()
		h(&override{ResponseWriter: w, body: func(p []byte) []byte {
			c.mu.Lock()
			c.bytes += int64(len(p))
			c.mu.Unlock()
			return p
		}}, r)
	}
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.times)
}

func TestTreeWithEmptyAndSmallFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, 1000,
			layout.File{Path: "web/a b%41.txt", Length: 10}, layout.File{Path: "web/empty", Length: 0},
			layout.File{Path: "web/d/ü?#.txt", Length: 2500}, layout.File{Path: "web/d/small", Length: 1},
			layout.File{Path: "web/big", Length: 100_000}, layout.File{Path: "web/last-empty", Length: 0})
		n := newNet()
		var c counter
		n.host(t, "m", c.wrap(good(s)))
		mustRun(t, n.fetcher(t, s, nil, "m"), time.Minute)
		s.check()
		if slices.ContainsFunc(c.paths, func(p string) bool { return strings.Contains(p, "empty") }) {
			t.Errorf("an empty file was requested: %v", c.paths)
		}
	})
}

func TestEmptyRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, 1000, layout.File{Path: "data.bin"})
		n := newNet()
		h := n.host(t, "m", good(s))
		mustRun(t, n.fetcher(t, s, nil, "m"), time.Minute)
		if h.dialled() > 0 {
			t.Error("a release without bytes was asked for")
		}
	})
}

// TestConnectionsAreReused counts connections and requests: the next request is
// sent while an answer is still coming, on the same connection.
func TestConnectionsAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 16<<20, 64<<10)
		n := newNet()
		n.delay = 20 * time.Millisecond
		var c counter
		h := n.host(t, "m", c.wrap(throttled(s, 2<<20)))
		client := NewClient(ClientConfig{Dial: n.dial})
		defer client.Close()
		mustRun(t, n.fetcher(t, s, func(c *Config) { c.Client, c.MaxConns = client, 4 }, "m"), time.Minute)
		s.check()
		if h.dialled() > 6 || c.count() < 8 {
			t.Errorf("%d connections for %d requests", h.dialled(), c.count())
		}
		before := h.dialled()
		s = single(t, 16<<20, 64<<10)
		mustRun(t, n.fetcher(t, s, func(c *Config) { c.Client, c.MaxConns = client, 2 }, "m"), time.Minute)
		if h.dialled() != before {
			t.Errorf("%d new connections for the next release, though some were kept", h.dialled()-before)
		}
	})
}

// hang keeps an answer from going on. With a request behind it on the
// connection, the server does not notice when the client has gone.
func hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(3 * time.Minute):
	}
}

// TestSlowMirrorIsNotWaitedFor has one mirror of a fiftieth of the rate, and one
// that stalls in the middle of its bodies.
func TestSlowMirrorIsNotWaitedFor(t *testing.T) {
	stalling := func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			sent := 0
			serveFile(&override{ResponseWriter: w, body: func(p []byte) []byte {
				if sent += len(p); sent > 40<<10 {
					hang(r)
				}
				return p
			}}, r, s)
		}
	}
	for name, slow := range map[string]func(*memSink) http.HandlerFunc{
		"slow":   func(s *memSink) http.HandlerFunc { return throttled(s, 20<<10) },
		"stalls": stalling,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := single(t, 32<<20, 256<<10)
				n := newNet()
				n.host(t, "slow", slow(s))
				n.host(t, "fast", throttled(s, 1<<20))
				f := n.fetcher(t, s, func(c *Config) { c.MaxConnsPerHost = 4 }, "slow", "fast")
				took := mustRun(t, f, 5*time.Minute)
				s.check()
				// Four connections of 1 MiB/s, of which two come when the first were
				// seen to do well: some 10 s. A slow one would need minutes.
				if took > 12*time.Second {
					t.Errorf("took %v, the fast mirror alone needs 10 s; %+v", took, f.Stats().Mirrors)
				}
			})
		})
	}
}

// TestStalls has one mirror only, which stalls at first in several ways.
func TestStalls(t *testing.T) {
	for name, c := range map[string]struct {
		stall func(w http.ResponseWriter, r *http.Request)
		want  string
	}{
		"no header": {func(_ http.ResponseWriter, r *http.Request) { hang(r) }, "no answer for"},
		"no body": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes "+strings.TrimPrefix(r.Header.Get("Range"), "bytes=")+"/1048576")
			w.WriteHeader(http.StatusPartialContent)
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, "no byte for"},
		"trickle": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes "+strings.TrimPrefix(r.Header.Get("Range"), "bytes=")+"/1048576")
			w.WriteHeader(http.StatusPartialContent)
			var at int
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
			for ; r.Context().Err() == nil; at++ {
				_, _ = w.Write(content(1 << 20)[at : at+1])
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		}, "less than the 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := single(t, 1<<20, 64<<10)
				n := newNet()
				start := time.Now()
				n.host(t, "m", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if time.Since(start) < 10*time.Second {
						c.stall(w, r)
						return
					}
					serveFile(w, r, s)
				}))
				f := n.fetcher(t, s, nil, "m")
				mustRun(t, f, 5*time.Minute)
				s.check()
				if st := f.Stats().Mirrors[0]; !strings.Contains(st.LastError, c.want) {
					t.Errorf("last error %q, want one with %q", st.LastError, c.want)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		n := newNet()
		var c counter
		busyUntil := time.Now().Add(100 * time.Second)
		n.host(t, "m", c.wrap(func(w http.ResponseWriter, r *http.Request) {
			if time.Now().Before(busyUntil) {
				w.Header().Set("Retry-After", "100")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			serveFile(w, r, s)
		}))
		took := mustRun(t, n.fetcher(t, s, nil, "m"), time.Hour)
		if took < 100*time.Second || took > 103*time.Second {
			t.Errorf("took %v, want a little more than the 100 s that were asked for", took)
		}
		early := 0
		for _, at := range c.times {
			if at.Before(busyUntil) {
				early++
			}
		}
		if early > 4 {
			t.Errorf("%d requests before the time", early)
		}
	})
}

// TestMirrorDiesAndReturns cuts the only mirror for five minutes.
func TestMirrorDiesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 8<<20, 64<<10)
		n := newNet()
		var c counter
		h := n.host(t, "m", c.wrap(throttled(s, 256<<10)))
		go func() {
			time.Sleep(3 * time.Second)
			h.setDown(true)
			time.Sleep(5 * time.Minute)
			h.setDown(false)
		}()
		f := n.fetcher(t, s, nil, "m")
		took := mustRun(t, f, time.Hour)
		s.check()
		if took < 5*time.Minute || took > 7*time.Minute {
			t.Errorf("took %v", took)
		}
		// What had arrived is not fetched again: not more than what was under way.
		if extra := c.bytes - 8<<20; extra > 1<<20 {
			t.Errorf("%d bytes were sent twice", extra)
		}
		if d := h.dialled(); d > 200 {
			t.Errorf("%d connections were tried", d)
		}
	})
}

func TestTiersAreStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 32<<20, 64<<10)
		n := newNet()
		var best, worse counter
		h := n.host(t, "best", best.wrap(throttled(s, 128<<10)))
		n.host(t, "worse", worse.wrap(throttled(s, 64<<10)))
		f := n.fetcher(t, s, func(c *Config) { c.MaxConns, c.TierPatience = 4, time.Minute }, "best", "worse/1")
		var died, back time.Time
		go func() {
			time.Sleep(5 * time.Second)
			died = time.Now()
			h.setDown(true)
			time.Sleep(80 * time.Second)
			back = time.Now()
			h.setDown(false)
		}()
		mustRun(t, f, time.Hour)
		s.check()
		if worse.count() == 0 {
			t.Fatal("the worse tier was never used")
		}
		if d := worse.times[0].Sub(died); d < time.Minute || d > 65*time.Second {
			t.Errorf("the worse tier was used %v after the better one failed, want a minute", d)
		}
		// A mirror is tried again every half minute, or half as long again by chance;
		// what is under way from the worse tier then comes to its end.
		if d := worse.times[worse.count()-1].Sub(back); d > 55*time.Second {
			t.Errorf("the worse tier was used %v after the better one had come back", d)
		}
		st := f.Stats()
		if len(st.Tiers) != 2 || st.Tiers[0].Verified+st.Tiers[1].Verified != 32<<20 || st.Tiers[1].Verified == 0 {
			t.Errorf("tiers %+v", st.Tiers)
		}
	})
}

// TestFlappingLiar has a better mirror that answers all the time, with bad
// bytes: its answers must not keep the next tier from being used.
func TestFlappingLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		n := newNet()
		n.host(t, "liar", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, body: func(p []byte) []byte { return make([]byte, len(p)) }}, r, s)
		}))
		n.host(t, "good", throttled(s, 1<<9))
		f := n.fetcher(t, s, func(c *Config) { c.MaxConns, c.MinRate = 2, 1 }, "liar", "good/1")
		mustRun(t, f, time.Hour)
		s.check()
		st := f.Stats().Mirrors
		if st[0].BadPieces < 2 || st[0].BadPieces > 8 || st[0].Verified != 0 || st[0].State != "bad bytes" {
			t.Errorf("liar %+v, want it to be tried now and then", st[0])
		}
		if st[1].Verified != 1<<20 {
			t.Errorf("good mirror %+v", st[1])
		}
	})
}

func TestGiveUpNamesEveryMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		n := newNet()
		n.host(t, "a", http.NotFoundHandler())
		f := n.fetcher(t, s, func(c *Config) {
			c.GiveUp = true
			c.Mirrors[1].URL = "http://user:secret@nowhere/data.bin?token=secret"
		}, "a", "nowhere/1")
		err := f.Run(t.Context())
		var g *GiveUpError
		if !errors.As(err, &g) || len(g.Failures) != 2 {
			t.Fatalf("error %v", err)
		}
		for _, want := range []string{"http://a/data.bin: status 404", "http://nowhere/data.bin: connect"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells a secret: %v", err)
		}
	})
}

func TestCancelUnclaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 8<<20, 64<<10)
		n := newNet()
		n.host(t, "m", throttled(s, 64<<10))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := n.fetcher(t, s, nil, "m").Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		s.claims(0)
		if s.left == s.lay.NumPieces() {
			t.Error("nothing was fetched")
		}
	})
}

func TestDiskErrorPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 4<<20, 64<<10)
		n := newNet()
		n.host(t, "m", good(s))
		s.fail = errDisk
		f := n.fetcher(t, s, nil, "m")
		go func() {
			time.Sleep(time.Minute)
			if p := f.Stats().Paused; p != errDisk.Error() {
				t.Errorf("paused by %q", p)
			}
			s.mu.Lock()
			s.fail = nil
			s.mu.Unlock()
		}()
		took := mustRun(t, f, time.Hour)
		s.check()
		if took < time.Minute || took > 2*time.Minute {
			t.Errorf("took %v", took)
		}
		if st := f.Stats().Mirrors[0]; st.Errors != 0 {
			t.Errorf("the mirror was blamed for the disk: %+v", st)
		}
		s = single(t, 4<<20, 64<<10)
		s.fail = errDisk
		f = n.fetcher(t, s, func(c *Config) { c.GiveUp = true }, "m")
		if err := f.Run(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("one-shot: %v, want the disk's error", err)
		}
	})
}

// TestMixedBadPiece has pieces so large that both mirrors send a part of each;
// only one of them lies.
func TestMixedBadPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 8<<20, 2<<20)
		n := newNet()
		n.host(t, "liar", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: &slowWriter{ResponseWriter: w, rate: 128 << 10}, body: func(p []byte) []byte {
				q := append([]byte(nil), p...)
				q[0] ^= 1
				return q
			}}, r, s)
		}))
		n.host(t, "good", throttled(s, 128<<10))
		f := n.fetcher(t, s, func(c *Config) { c.Memory = 4 << 20 }, "liar", "good")
		mustRun(t, f, time.Hour)
		s.check()
		st := f.Stats().Mirrors
		if st[0].BadPieces == 0 || st[1].BadPieces != 0 {
			t.Errorf("bad pieces: liar %d, good %d", st[0].BadPieces, st[1].BadPieces)
		}
	})
}

// TestMemoryIsBounded watches the buffers with pieces far larger than memory
// allows each connection.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 64<<20, 4<<20)
		n := newNet()
		n.delay = 50 * time.Millisecond
		n.host(t, "m", throttled(s, 256<<10))
		f := n.fetcher(t, s, func(c *Config) { c.Memory = 8 << 20 }, "m")
		most := 0
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
				}
				f.mu.Lock()
				have := len(f.board.free)
				for _, p := range f.board.pieces {
					if p.buf != nil {
						have++
					}
				}
				most = max(most, have)
				f.mu.Unlock()
			}
		})
		took := mustRun(t, f, time.Hour)
		close(stop)
		wg.Wait()
		s.check()
		if most > 2 {
			t.Errorf("%d buffers of 4 MiB, 8 MiB allowed", most)
		}
		// 48 connections of 256 KiB/s: 5.3 s and what growing takes.
		if took > 15*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestServerWithoutRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, 1000, layout.File{Path: "web/a", Length: 2500}, layout.File{Path: "web/b", Length: 0}, layout.File{Path: "web/c", Length: 70_000}, layout.File{Path: "web/d", Length: 10})
		s.state[1] = 2 // some are there already
		s.left--
		copy(s.got[1000:2000], s.want[1000:2000])
		n := newNet()
		var c counter
		fails := 2
		h := n.host(t, "m", c.wrap(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			if r.URL.Path == "/web/c" && fails > 0 {
				fails--
				serveFile(&override{ResponseWriter: w, body: func([]byte) []byte { return nil }}, r, s)
				return
			}
			serveFile(&override{ResponseWriter: w, before: func(h http.Header, st int) int { h.Del("Accept-Ranges"); return st }}, r, s)
		}))
		f := n.fetcher(t, s, func(c *Config) { c.Mirrors[0].NoRanges = true }, "m")
		mustRun(t, f, time.Hour)
		s.check()
		if h.dialled() > 5 {
			t.Errorf("%d connections to a server of one stream", h.dialled())
		}
	})
}

func TestRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		n := newNet()
		n.host(t, "front", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/data.bin" {
				http.Redirect(w, r, "/moved", http.StatusMovedPermanently)
				return
			}
			http.Redirect(w, r, "http://cdn/data.bin", http.StatusFound)
		}))
		n.host(t, "cdn", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("credentials were sent to another host")
			}
			serveFile(w, r, s)
		}))
		f := n.fetcher(t, s, func(c *Config) {
			c.Mirrors[0].URL = "http://user:pw@front/data.bin"
			c.ClientConfig.AllowRedirect = func(_, to *url.URL) bool { return to.Host == "cdn" }
		}, "front")
		mustRun(t, f, time.Minute)
		s.check()
	})
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 4<<20, 64<<10)
		n := newNet()
		n.host(t, "m", good(s))
		f := n.fetcher(t, s, func(c *Config) { c.Limiter = rate.NewLimiter(256<<10, 4<<10) }, "m")
		if took := mustRun(t, f, time.Hour); took < 15*time.Second || took > 18*time.Second {
			t.Errorf("4 MiB at 256 KiB/s took %v", took)
		}
		s.check()
	})
}

// TestServerOfFewConnections refuses more than three connections at once.
func TestServerOfFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 16<<20, 64<<10)
		n := newNet()
		n.delay = 20 * time.Millisecond
		slots := make(chan struct{}, 3)
		var c counter
		n.host(t, "m", c.wrap(func(w http.ResponseWriter, r *http.Request) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				serveFile(&slowWriter{ResponseWriter: w, rate: 512 << 10}, r, s)
			default:
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		f := n.fetcher(t, s, nil, "m")
		took := mustRun(t, f, time.Hour)
		s.check()
		if took > 15*time.Second { // 10.7 s at the least
			t.Errorf("took %v", took)
		}
		if e := f.Stats().Mirrors[0].Errors; e > 100 {
			t.Errorf("%d errors: it was asked again and again", e)
		}
	})
}

// TestIdleFetcherIsQuiet has nothing to claim: no connection, no busy loop, and
// a start as soon as the Sink signals.
func TestIdleFetcherIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := single(t, 1<<20, 64<<10)
		for i := range s.state {
			s.state[i] = 1
		}
		n := newNet()
		h := n.host(t, "m", good(s))
		f := n.fetcher(t, s, nil, "m")
		go func() {
			time.Sleep(10 * time.Minute)
			if h.dialled() > 0 {
				t.Error("connected with nothing to fetch")
			}
			s.Unclaim(0, len(s.state))
		}()
		if took := mustRun(t, f, time.Hour); took > 10*time.Minute+time.Second {
			t.Errorf("took %v", took)
		}
		s.check()
	})
}
