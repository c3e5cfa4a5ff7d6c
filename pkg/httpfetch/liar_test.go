package httpfetch

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// override lets h change what the good handler's answer looks like.
type override struct {
	http.ResponseWriter
	before func(h http.Header, status int) int
	body   func(p []byte) []byte
	sent   bool
}

func (o *override) WriteHeader(status int) {
	if !o.sent {
		o.sent = true
		if o.before != nil {
			status = o.before(o.Header(), status)
		}
		o.ResponseWriter.WriteHeader(status)
	}
}

func (o *override) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *override) Write(p []byte) (int, error) {
	if !o.sent {
		o.WriteHeader(http.StatusOK)
	}
	if o.body != nil {
		q := o.body(p)
		if len(q) > 0 {
			if _, err := o.ResponseWriter.Write(q); err != nil {
				return 0, err
			}
		}
		return len(p), nil
	}
	return o.ResponseWriter.Write(p)
}

// bent is a server whose headers are changed by fn.
func bent(s *memSink, fn func(h http.Header, status int) int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		serveFile(&override{ResponseWriter: w, before: fn}, r, s)
	}
}

// hijacked answers with raw bytes and closes.
func hijacked(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = c.Write([]byte(raw))
		_ = c.Close()
	}
}

// liarCase is a server that misbehaves, and what is said of it.
type liarCase struct {
	name, want string
	handler    func(s *memSink) http.HandlerFunc
	slow       bool // it takes the client half a minute to notice
	good       bool // the bytes before the lie are right, and enough
}

// liars are all kinds of them; those that net/http would not be are in rawLiars.
var liars = append([]liarCase{
	{name: "200 with everything", want: "ignores ranges", handler: func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			serveFile(w, r, s)
		}
	}},
	{name: "wrong Content-Range", want: "as asked", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			h.Set("Content-Range", "bytes 1-2/4194304")
			h.Del("Content-Length")
			return status
		})
	}},
	{name: "no Content-Range", want: "0 Content-Range", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Del("Content-Range"); return status })
	}},
	{name: "two Content-Ranges", want: "2 Content-Range", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Add("Content-Range", "bytes 0-1/2"); return status })
	}},
	{name: "another size", want: "bytes here", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			span, _, _ := strings.Cut(h.Get("Content-Range"), "/")
			h.Set("Content-Range", span+"/999999999")
			return status
		})
	}},
	{name: "unknown size", want: "FIRST-LAST/SIZE", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			span, _, _ := strings.Cut(h.Get("Content-Range"), "/")
			h.Set("Content-Range", span+"/*")
			return status
		})
	}},
	{name: "changing ETag", want: "changed while", handler: func(s *memSink) http.HandlerFunc {
		var n atomic.Int64
		return bent(s, func(h http.Header, status int) int { h.Set("ETag", fmt.Sprintf(`"v%d"`, n.Add(1))); return status })
	}},
	{name: "content encoding", want: "content encoding gzip", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Set("Content-Encoding", "gzip"); return status })
	}},
	{name: "redirect elsewhere", want: "another host", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/data.bin", http.StatusFound)
		}
	}},
	{name: "redirect in circles", want: "redirects", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	}},
	{name: "redirect to nowhere", want: "not an HTTP URL", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "ftp://x/y")
			w.WriteHeader(http.StatusFound)
		}
	}},
	{name: "416", want: "416", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) }
	}},
	{name: "404", want: "404", handler: func(*memSink) http.HandlerFunc { return http.NotFound }},
	{name: "500", want: "500", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	}},
	{name: "503", want: "busy", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}},
	{name: "bad bytes", want: "did not verify", handler: func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, body: func(p []byte) []byte {
				q := append([]byte(nil), p...)
				q[len(q)/2] ^= 1
				return q
			}}, r, s)
		}
	}},
	{name: "short body", want: "early", handler: func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, body: func([]byte) []byte { return nil }}, r, s)
		}
	}},
	{name: "endless body", want: "longer than the range", handler: func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, before: func(h http.Header, st int) int { h.Del("Content-Length"); return st }}, r, s)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}},
	{name: "endless header", want: "64 KiB", handler: func(*memSink) http.HandlerFunc {
		return hijacked("HTTP/1.1 206 Partial\r\nX: " + strings.Repeat("y", 1<<20))
	}},
	{name: "interim answers", want: "interim", handler: func(*memSink) http.HandlerFunc {
		return hijacked(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50))
	}},
	{name: "not HTTP", want: "malformed", handler: func(*memSink) http.HandlerFunc { return hijacked("SSH-2.0-OpenSSH_9.9\r\n\r\n") }},
	{name: "closes at once", want: "EOF", handler: func(*memSink) http.HandlerFunc { return hijacked("") }},
	{name: "429", want: "busy", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
	}},
	{name: "several ranges in one answer", want: "0 Content-Range", handler: func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			h.Del("Content-Range")
			h.Set("Content-Type", "multipart/byteranges; boundary=x")
			return status
		})
	}},
	{name: "changing weak ETag", want: "changed while", handler: func(s *memSink) http.HandlerFunc {
		var n atomic.Int64
		return bent(s, func(h http.Header, status int) int { h.Set("ETag", fmt.Sprintf(`W/"v%d"`, n.Add(1))); return status })
	}},
	{name: "changing date", want: "changed while", handler: func(s *memSink) http.HandlerFunc {
		var n atomic.Int64
		return bent(s, func(h http.Header, status int) int {
			h.Del("ETag")
			h.Set("Last-Modified", time.Unix(n.Add(1), 0).UTC().Format(http.TimeFormat))
			return status
		})
	}},
	{name: "another release of the same length", want: "did not verify", handler: func(s *memSink) http.HandlerFunc {
		return good(s.with(append(slices.Clone(s.want[1:]), s.want[0])))
	}},
	{name: "one bad piece in eight", want: "did not verify", handler: func(s *memSink) http.HandlerFunc {
		bytes := slices.Clone(s.want)
		for i := 5; i < s.lay.NumPieces(); i += 8 {
			bytes[s.lay.PieceOffset(i)+1000] ^= 1
		}
		return good(s.with(bytes))
	}},
	{name: "redirect to another port", want: "another host", handler: func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://liar:8080/data.bin", http.StatusTemporaryRedirect)
		}
	}},
}, rawLiars...)

// TestLiars fetches from a server that misbehaves and one that does not.
func TestLiars(t *testing.T) {
	for _, c := range liars {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := single(t, 4<<20, 64<<10)
				rate, limit := 1<<20, 10*time.Second
				if c.slow {
					rate, limit = 16<<10, 4*time.Minute
				}
				n := newNet()
				n.host(t, "liar", c.handler(s))
				n.host(t, "good", throttled(s, rate))
				core, said := observer.New(zap.WarnLevel)
				f := n.fetcher(t, s, func(cfg *Config) {
					cfg.Log = zap.New(core)
					if c.slow {
						cfg.MaxConnsPerHost = 2
					}
				}, "liar", "good")
				took := mustRun(t, f, limit+time.Minute)
				s.check()
				if said.FilterField(zap.String("mirror", "http://liar/data.bin")).Len() == 0 || said.FilterField(zap.String("mirror", "http://good/data.bin")).Len() > 0 {
					t.Errorf("the log does not name the liar alone: %v", said.All())
				}
				if read := n.read("liar"); read > 2*s.lay.Total {
					t.Errorf("%d bytes were read from the liar", read)
				}
				st := f.Stats().Mirrors
				if st[0].Errors == 0 || !strings.Contains(st[0].LastError, c.want) {
					t.Errorf("%d errors of the liar, the last %q, want one with %q", st[0].Errors, st[0].LastError, c.want)
				}
				if st[0].Errors > 80 { // of 48 connections at once
					t.Errorf("%d errors of the liar: it was asked again and again", st[0].Errors)
				}
				if st[1].Errors != 0 {
					t.Errorf("the good mirror was blamed: %s", st[1].LastError)
				}
				if took > limit {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// TestLiarAlone gives a one-shot download nothing but a liar.
func TestLiarAlone(t *testing.T) {
	for _, c := range liars {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := single(t, 4<<20, 64<<10)
				n := newNet()
				n.host(t, "liar", c.handler(s))
				f := n.fetcher(t, s, func(c *Config) { c.GiveUp = true }, "liar")
				err := f.Run(t.Context())
				if c.good {
					if err != nil {
						t.Errorf("error %v", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "http://liar/data.bin") {
					t.Errorf("error %v, want one that names the mirror and %q", err, c.want)
				}
				s.mu.Lock()
				s.claims(0)
				s.mu.Unlock()
			})
		})
	}
}
