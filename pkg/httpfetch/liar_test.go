package httpfetch

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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

// liars are servers that misbehave, and what is said of each.
var liars = []struct {
	name, want string
	handler    func(s *memSink) http.HandlerFunc
}{
	{"200 with everything", "ignores ranges", func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			serveFile(w, r, s)
		}
	}},
	{"wrong Content-Range", "as asked", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			h.Set("Content-Range", "bytes 1-2/4194304")
			h.Del("Content-Length")
			return status
		})
	}},
	{"no Content-Range", "0 Content-Range", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Del("Content-Range"); return status })
	}},
	{"two Content-Ranges", "2 Content-Range", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Add("Content-Range", "bytes 0-1/2"); return status })
	}},
	{"another size", "bytes here", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			span, _, _ := strings.Cut(h.Get("Content-Range"), "/")
			h.Set("Content-Range", span+"/999999999")
			return status
		})
	}},
	{"unknown size", "FIRST-LAST/SIZE", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int {
			span, _, _ := strings.Cut(h.Get("Content-Range"), "/")
			h.Set("Content-Range", span+"/*")
			return status
		})
	}},
	{"changing ETag", "changed while", func(s *memSink) http.HandlerFunc {
		var n atomic.Int64
		return bent(s, func(h http.Header, status int) int { h.Set("ETag", fmt.Sprintf(`"v%d"`, n.Add(1))); return status })
	}},
	{"content encoding", "content encoding gzip", func(s *memSink) http.HandlerFunc {
		return bent(s, func(h http.Header, status int) int { h.Set("Content-Encoding", "gzip"); return status })
	}},
	{"redirect elsewhere", "another host", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/data.bin", http.StatusFound)
		}
	}},
	{"redirect in circles", "redirects", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	}},
	{"redirect to nowhere", "not an HTTP URL", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "ftp://x/y")
			w.WriteHeader(http.StatusFound)
		}
	}},
	{"416", "416", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) }
	}},
	{"404", "404", func(*memSink) http.HandlerFunc { return http.NotFound }},
	{"500", "500", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	}},
	{"503", "busy", func(*memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}},
	{"bad bytes", "did not verify", func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, body: func(p []byte) []byte {
				q := append([]byte(nil), p...)
				q[len(q)/2] ^= 1
				return q
			}}, r, s)
		}
	}},
	{"short body", "early", func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, body: func([]byte) []byte { return nil }}, r, s)
		}
	}},
	{"endless body", "longer than the range", func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			serveFile(&override{ResponseWriter: w, before: func(h http.Header, st int) int { h.Del("Content-Length"); return st }}, r, s)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}},
	{"endless header", "64 KiB", func(*memSink) http.HandlerFunc {
		return hijacked("HTTP/1.1 206 Partial\r\nX: " + strings.Repeat("y", 1<<20))
	}},
	{"interim answers", "interim", func(*memSink) http.HandlerFunc {
		return hijacked(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50))
	}},
	{"not HTTP", "malformed", func(*memSink) http.HandlerFunc { return hijacked("SSH-2.0-OpenSSH_9.9\r\n\r\n") }},
	{"closes at once", "EOF", func(*memSink) http.HandlerFunc { return hijacked("") }},
}

// TestLiars fetches from a server that misbehaves and one that does not.
func TestLiars(t *testing.T) {
	for _, c := range liars {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := single(t, 4<<20, 64<<10)
				n := newNet()
				n.host(t, "liar", c.handler(s))
				n.host(t, "good", throttled(s, 1<<20))
				f := n.fetcher(t, s, nil, "liar", "good")
				took := mustRun(t, f, time.Minute)
				s.check()
				st := f.Stats().Mirrors
				if st[0].Errors == 0 || !strings.Contains(st[0].LastError, c.want) {
					t.Errorf("%d errors of the liar, the last %q, want one with %q", st[0].Errors, st[0].LastError, c.want)
				}
				if st[1].Errors != 0 {
					t.Errorf("the good mirror was blamed: %s", st[1].LastError)
				}
				if took > 10*time.Second {
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
