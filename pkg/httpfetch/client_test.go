package httpfetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"distd/internal/layout"
)

// tlsServer serves h over TLS, HTTP/2 included, and returns a configuration that
// trusts it.
func tlsServer(t testing.TB, h http.Handler) (*httptest.Server, *tls.Config) {
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return srv, &tls.Config{RootCAs: pool}
}

func TestTLS(t *testing.T) {
	s := newSink(t, 64<<10, layout.File{Path: "data.bin", Length: 8 << 20})
	var resumed, other atomic.Int64
	srv, trust := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			other.Add(1)
		}
		if r.TLS.DidResume {
			resumed.Add(1)
		}
		serveFile(w, r, s)
	}))
	trust.InsecureSkipVerify = true // must be without effect, see below
	f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}, ClientConfig: ClientConfig{TLS: trust}, GiveUp: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	s.check()
	if other.Load() > 0 {
		t.Errorf("%d requests were not HTTP/1.1", other.Load())
	}

	// Without the CA nothing is fetched, whatever the configuration says.
	s = newSink(t, 64<<10, layout.File{Path: "data.bin", Length: 1 << 20})
	f, err = New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}, ClientConfig: ClientConfig{TLS: &tls.Config{InsecureSkipVerify: true}}, GiveUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Run(ctx); err == nil || !strings.Contains(err.Error(), "CA") {
		t.Errorf("unknown CA: %v", err)
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	var resumed atomic.Int64
	srv, trust := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			resumed.Add(1)
		}
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "x")
	}))
	c := NewClient(ClientConfig{TLS: trust})
	defer func() { _ = c.Close() }()
	for range 3 {
		if _, err := Get(t.Context(), c, srv.URL, io.Discard, 10); err != nil {
			t.Fatal(err)
		}
	}
	if resumed.Load() == 0 {
		t.Error("no handshake resumed a session")
	}
}

func TestProbe(t *testing.T) {
	const sum = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	mux := http.NewServeMux()
	mux.HandleFunc("/full", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"abc"`)
		w.Header().Set("Repr-Digest", "sha-256=:"+sum+":")
		w.Header().Set("Link", `</full.torrent>; rel=describedby; type="application/x-bittorrent"`)
		http.ServeContent(w, r, "x.bin", time.Unix(1e9, 0), bytes.NewReader(content(1000)))
	})
	mux.HandleFunc("/nohead", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(content(1000)))
	})
	mux.HandleFunc("/noranges", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(content(1000))
	})
	mux.HandleFunc("/nolength", func(w http.ResponseWriter, _ *http.Request) {
		for range 5 {
			_, _ = w.Write(content(1000))
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(nil))
	})
	mux.Handle("/moved", http.RedirectHandler("/full", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler("http://evil.example/", http.StatusFound))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	c.Warm(srv.URL, 2)

	full := Info{
		Length: 1000, ETag: `"abc"`, LastModified: "Sun, 09 Sep 2001 01:46:40 GMT", FinalURL: srv.URL + "/full", ContentType: "application/octet-stream", Ranges: true,
		Digest: map[string]string{"sha-256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		Links:  []Link{{URL: srv.URL + "/full.torrent", Rel: "describedby", Type: "application/x-bittorrent", Pri: 999999}},
	}
	for path, want := range map[string]Info{"/full": full, "/moved": full} {
		got, err := Probe(t.Context(), c, srv.URL+path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	for path, want := range map[string]struct {
		length int64
		ranges bool
	}{"/nohead": {1000, true}, "/noranges": {1000, false}, "/nolength": {-1, false}, "/empty": {0, true}} {
		got, err := Probe(t.Context(), c, srv.URL+path)
		if err != nil || got.Length != want.length || got.Ranges != want.ranges {
			t.Errorf("%s: %d bytes, ranges %v, %v; want %+v", path, got.Length, got.Ranges, err, want)
		}
	}
	for path, want := range map[string]string{"/missing": "status 404", "/away": "another host"} {
		if _, err := Probe(t.Context(), c, srv.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", path, err, want)
		}
	}
	for _, bad := range []string{"ftp://x/y", "://", "http://", "file:///etc/passwd"} {
		if _, err := Probe(t.Context(), c, bad); err == nil {
			t.Errorf("%q was probed", bad)
		}
	}
}

func TestGetIsBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		case "/encoded":
			w.Header().Set("Content-Encoding", "gzip")
		case "/partial":
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	var b bytes.Buffer
	if info, err := Get(t.Context(), c, srv.URL+"/", &b, 5); err != nil || b.String() != "hello" || info.Length != 5 {
		t.Errorf("%q, %+v, %v", &b, info, err)
	}
	for _, path := range []string{"/endless", "/encoded", "/partial"} {
		if _, err := Get(t.Context(), c, srv.URL+path, io.Discard, 10_000); err == nil {
			t.Errorf("%s was accepted", path)
		}
	}
	if _, err := Get(t.Context(), c, srv.URL+"/", io.Discard, 4); err == nil {
		t.Error("5 bytes were accepted where 4 are allowed")
	}
}

// TestWarmConnectionThatDied: servers close connections on which no request
// comes for a while. That is no failure of theirs.
func TestWarmConnectionThatDied(t *testing.T) {
	s := newSink(t, 64<<10, layout.File{Path: "data.bin", Length: 1 << 20})
	srv := httptest.NewServer(good(s))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	warm := func() {
		c.Warm(srv.URL, 4)
		c.warm.Wait()
		srv.CloseClientConnections()
	}
	warm()
	if _, err := Probe(t.Context(), c, srv.URL+"/data.bin"); err != nil {
		t.Errorf("probe after warm connections were closed: %v", err)
	}
	warm()
	f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}, Client: c, GiveUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.check()
	if st := f.Stats(); st.Mirrors[0].Errors != 0 {
		t.Errorf("the mirror is blamed for them: %+v", st.Mirrors[0])
	}
}

func TestKeptConnectionThatDied(t *testing.T) {
	s := newSink(t, 64<<10, layout.File{Path: "data.bin", Length: 1 << 20})
	srv := httptest.NewServer(good(s))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	if _, err := Probe(t.Context(), c, srv.URL+"/data.bin"); err != nil {
		t.Fatal(err)
	}
	srv.CloseClientConnections()
	if _, err := Probe(t.Context(), c, srv.URL+"/data.bin"); err != nil {
		t.Errorf("probe on a kept connection that was closed: %v", err)
	}
	srv.CloseClientConnections()
	f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}, Client: c, GiveUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := f.Stats().Mirrors[0]; st.Errors > 0 {
		t.Errorf("the mirror was blamed: %s", st.LastError)
	}
}

// TestProxy goes through a proxy that wants a password, to a server with and
// without TLS that wants another.
func TestProxy(t *testing.T) {
	s := newSink(t, 64<<10, layout.File{Path: "data.bin", Length: 1 << 20})
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "origin" || r.Header.Get("Proxy-Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		serveFile(w, r, s)
	})
	plain := httptest.NewServer(origin)
	defer plain.Close()
	secure, trust := tlsServer(t, origin)
	var tunnels, forwarded atomic.Int64
	var wg sync.WaitGroup
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != basicAuth(url.UserPassword("me", "proxy")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			forwarded.Add(1)
			r.Header.Del("Proxy-Authorization")
			r.RequestURI = ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				panic(err)
			}
			defer func() { _ = resp.Body.Close() }()
			for k, v := range resp.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		tunnels.Add(1)
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			panic(err)
		}
		w.WriteHeader(http.StatusOK)
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		wg.Go(func() { _, _ = io.Copy(up, down); _ = up.Close() })
		wg.Go(func() { _, _ = io.Copy(down, up); _ = down.Close() })
	}))
	defer func() {
		proxy.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		wg.Wait()
	}()
	via, _ := url.Parse(proxy.URL)
	via.User = url.UserPassword("me", "proxy")
	for _, base := range []string{plain.URL, secure.URL} {
		s.state = make([]byte, len(s.state))
		s.left, s.done = len(s.state), make(chan struct{})
		u, _ := url.Parse(base + "/data.bin")
		u.User = url.UserPassword("me", "origin")
		f, err := New(Config{Sink: s, GiveUp: true, Mirrors: []Mirror{{URL: u.String()}},
			ClientConfig: ClientConfig{TLS: trust, Proxy: http.ProxyURL(via)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Run(t.Context()); err != nil {
			t.Errorf("%s: %v", base, err)
		}
		s.check()
		if st := f.Stats(); strings.Contains(fmt.Sprintf("%+v", st), "origin@") {
			t.Errorf("a password shows in %+v", st)
		}
	}
	if tunnels.Load() == 0 || forwarded.Load() == 0 {
		t.Errorf("%d tunnels, %d forwarded requests", tunnels.Load(), forwarded.Load())
	}
}

func TestNewRefuses(t *testing.T) {
	s := newSink(t, 10, layout.File{Path: "f", Length: 10})
	for name, c := range map[string]Config{
		"no sink":    {Mirrors: []Mirror{{URL: "http://x/"}}},
		"no mirrors": {Sink: s},
		"ftp":        {Sink: s, Mirrors: []Mirror{{URL: "ftp://x/"}}},
		"no host":    {Sink: s, Mirrors: []Mirror{{URL: "http:///x"}}},
		"not a URL":  {Sink: s, Mirrors: []Mirror{{URL: "http://user:secret@x:y/"}}},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkLoopback(b *testing.B) {
	const size = 256 << 20
	data := content(size)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	for _, secure := range []bool{false, true} {
		b.Run(map[bool]string{false: "http", true: "https"}[secure], func(b *testing.B) {
			srv, cfg := httptest.NewServer(h), (*tls.Config)(nil)
			if secure {
				srv.Close()
				srv, cfg = tlsServer(b, h)
			}
			defer srv.Close()
			b.SetBytes(size)
			for b.Loop() {
				lay, err := layout.New(1<<20, []layout.File{{Path: "f", Length: size}})
				if err != nil {
					b.Fatal(err)
				}
				s := &memSink{t: b, lay: lay, want: data, got: make([]byte, size), state: make([]byte, lay.NumPieces()), left: lay.NumPieces(), done: make(chan struct{}), changed: make(chan struct{}, 1)}
				f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL}}, ClientConfig: ClientConfig{TLS: cfg}, GiveUp: true})
				if err != nil {
					b.Fatal(err)
				}
				if err := f.Run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
