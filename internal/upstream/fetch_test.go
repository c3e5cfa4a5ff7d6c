package upstream

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/manifest"
)

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ base, ca string }{
		{"", ""}, {"host:80", ""}, {"ftp://host", ""}, {"http://", ""}, {"http://host/?x=1", ""}, {"http://host/#x", ""}, {"http://a b", ""},
		{"https://host", filepath.Join(dir, "none.pem")}, {"https://host", garbage},
	} {
		if _, err := New(tc.base, Options{CA: tc.ca}); err == nil {
			t.Errorf("%+v taken", tc)
		}
	}
	if _, err := New("http://user:secret@ho st/", Options{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestURLs(t *testing.T) {
	c, err := New("https://u:secret@host:8443/a%20b//", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Base(); got != "https://host:8443/a%20b" {
		t.Errorf("base %s", got)
	}
	id := strings.Repeat("0", 64)
	if got, want := c.ContentURL(id, "web/ü?#%+ x.txt"), "https://host:8443/a%20b/releases/"+id+"/content/web/%C3%BC%3F%23%25%2B%20x.txt"; got != want {
		t.Errorf("content %s, want %s", got, want)
	}
	if got := c.MetaURL(id, "a b+.torrent"); !strings.HasSuffix(got, id+"/a%20b%2B.torrent") {
		t.Errorf("meta %s", got)
	}
}

func TestTree(t *testing.T) {
	data := []byte(`{"x":1}`)
	id := manifest.ID(data)
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.EscapedPath())
		if r.Header.Get("User-Agent") != "distd/test" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("headers %v", r.Header)
		}
		switch r.URL.Path {
		case "/publish.pub":
			_, _ = io.WriteString(w, "key")
		case "/releases/" + id + "/manifest.json":
			_, _ = w.Write(data)
		case "/releases/" + id + "/manifest.json.minisig":
			_, _ = io.WriteString(w, "sig")
		case "/releases/" + id + "/a b.torrent":
			_, _ = io.WriteString(w, "torrent")
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	c, err := New(srv.URL, Options{UserAgent: "distd/test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	if b, err := c.PublicKey(ctx); err != nil || string(b) != "key" {
		t.Errorf("key %q, %v", b, err)
	}
	if d, s, err := c.Manifest(ctx, id, nil); err != nil || string(d) != string(data) || string(s) != "sig" {
		t.Errorf("manifest %q %q, %v", d, s, err)
	}
	if b, err := c.Meta(ctx, id, "a b.torrent", 7); err != nil || string(b) != "torrent" || asked[len(asked)-1] != "/releases/"+id+"/a%20b.torrent" {
		t.Errorf("torrent %q, %v", b, err)
	}
	if _, err := c.Meta(ctx, id, "a b.torrent", 6); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := c.Meta(ctx, id, "other", 6); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), srv.URL) {
		t.Errorf("missing: %v", err)
	}
	n := len(asked)
	for _, f := range []func() error{
		func() error { _, err := c.Meta(ctx, id, "../x", 1); return err },
		func() error { _, err := c.Meta(ctx, "../"+id[3:], "x", 1); return err },
		func() error { _, _, err := c.Manifest(ctx, "abc", nil); return err },
		func() error { _, _, err := c.Pointer(ctx, "../x"); return err },
	} {
		if f() == nil {
			t.Error("a bad name is asked for")
		}
	}
	if len(asked) != n {
		t.Errorf("asked for %q", asked[n:])
	}
	data = []byte(`{"x":2}`)
	if _, _, err := c.Manifest(ctx, id, nil); err == nil || !strings.Contains(err.Error(), "not the bytes of release") {
		t.Errorf("changed manifest: %v", err)
	}
}

// TestBadUpstreams has servers that answer in ways that must not hang, fill
// the memory or lead elsewhere.
func TestBadUpstreams(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    http.HandlerFunc
		want error
		text string
		max  time.Duration
	}{
		{"endless body", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, ErrTooLarge, "more than 4096 bytes", time.Second},
		{"large length", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000000000000") }, ErrTooLarge, "1000000000000 bytes", time.Second},
		{"stalled body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, ErrStalled, "nothing came for 20s", 21 * time.Second},
		{"dripping body", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Second)
			}
		}, ErrStalled, "not done after 30s", 41 * time.Second},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, "timeout", 21 * time.Second},
		{"short body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x"))
		}, io.ErrUnexpectedEOF, "", time.Second},
		{"redirect elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://evil.example/", 302) }, ErrRedirect, "http://evil.example", time.Second},
		{"redirect to another scheme", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://host/tree/publish.pub", 302)
		}, ErrRedirect, "", time.Second},
		{"redirect to another port", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://host:81/tree/publish.pub", 302)
		}, ErrRedirect, "", time.Second},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/tree/publish.pub", 302) }, ErrRedirect, "more than 5", time.Second},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "gzip") }, nil, `encoded as "gzip"`, time.Second},
		{"partial", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206) }, nil, "status 206", time.Second},
		{"304 without a tag", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, nil, "status 304", time.Second},
		{"large header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) }, nil, "header", time.Second},
		{"error page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(500)
			_, _ = fmt.Fprintf(w, "no \x1b[31mroom\nmore %s", strings.Repeat("x", 1<<20))
		}, nil, "status 500 (no [31mroom)", time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWeb(t, tc.h).client(t, Options{})
				start := time.Now()
				b, err := c.PublicKey(t.Context())
				if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || strings.Count(err.Error(), "http://host/tree/publish.pub") != 1 {
					t.Errorf("%d bytes, error %v", len(b), err)
				}
				if took := time.Since(start); took > tc.max {
					t.Errorf("took %v", took)
				}
				var status *StatusError
				if errors.As(err, &status) && status.Code == 500 && status.RetryAfter != 7*time.Second {
					t.Errorf("Retry-After %v", status.RetryAfter)
				}
				c.Close()
			})
		})
	}
}

func TestRedirectOnTheSameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/key" {
				http.Redirect(w, r, "/key", 302)
				return
			}
			_, _ = io.WriteString(w, "key")
		}).client(t, Options{})
		if b, err := c.PublicKey(t.Context()); err != nil || string(b) != "key" {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
	})
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWeb(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }).client(t, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.PublicKey(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		c.Close()
	})
}

func TestTrust(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "key") }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that must fail
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, ok := range map[string]bool{"": false, ca: true} {
		c, err := New(srv.URL, Options{CA: file})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.PublicKey(t.Context()); (err == nil) != ok {
			t.Errorf("CA %q: %v", file, err)
		}
		if c.TLS().MinVersion < 0x0303 || c.TLS().InsecureSkipVerify {
			t.Error("weak TLS configuration")
		}
		c.Close()
	}
}

// TestPointer reads a pair of files that may change in between.
func TestPointer(t *testing.T) {
	for _, tagged := range []bool{true, false} {
		t.Run(fmt.Sprint("tags ", tagged), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				serial, moves := 1, 0 // moves: how often the signature's reading brings a new release
				got304, got200 := 0, 0
				c := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
					body := fmt.Sprintf("pointer %d", serial)
					if strings.HasSuffix(r.URL.Path, ".minisig") {
						_, _ = fmt.Fprintf(w, "sig %d", serial)
						if moves > 0 {
							moves--
							serial++
						}
						return
					}
					tag := fmt.Sprintf(`"%d"`, serial)
					if tagged {
						w.Header().Set("ETag", tag)
						if r.Header.Get("If-None-Match") == tag {
							got304++
							w.WriteHeader(304)
							return
						}
					}
					got200++
					_, _ = io.WriteString(w, body)
				}).client(t, Options{})
				want := func(n int) {
					t.Helper()
					data, sig, err := c.Pointer(t.Context(), "web")
					if err != nil || string(data) != fmt.Sprint("pointer ", n) || string(sig) != fmt.Sprint("sig ", n) {
						t.Fatalf("%q %q, %v; want %d", data, sig, err, n)
					}
				}
				want(1)
				got304, got200 = 0, 0
				want(1)
				if tagged && (got304 != 1 || got200 != 0) {
					t.Errorf("read again: %d times 304, %d times 200", got304, got200)
				}
				serial = 2
				want(2)
				serial, moves = 3, 1
				want(4) // never pointer 3 with signature 4
				serial, moves = 10, 100
				if _, _, err := c.Pointer(t.Context(), "web"); !errors.Is(err, errChanging) {
					t.Errorf("error %v", err)
				}
				moves, serial = 0, 4
				want(4)
				c.Forget("web")
				got200 = 0
				want(4)
				if got200 == 0 {
					t.Error("a forgotten pointer was not read")
				}
				c.Close()
			})
		})
	}
}
