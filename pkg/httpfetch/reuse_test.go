package httpfetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// census counts what a server sees of connections.
type census struct {
	accepted, resumed, http2 atomic.Int64
	open                     sync.Map

	// With together set, no answer is given before there are two connections.
	together atomic.Bool
	mu       sync.Mutex
	clients  map[string]bool
	two      chan struct{}
	met      func()
}

func newCensus() *census {
	c := &census{clients: map[string]bool{}, two: make(chan struct{})}
	c.met = sync.OnceFunc(func() { close(c.two) })
	return c
}

func (c *census) wait(r *http.Request) {
	if !c.together.Load() {
		return
	}
	c.mu.Lock()
	c.clients[r.RemoteAddr] = true
	if len(c.clients) > 1 {
		c.met()
	}
	c.mu.Unlock()
	select {
	case <-c.two:
	case <-r.Context().Done():
	}
}

func (c *census) state(conn net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		c.accepted.Add(1)
		c.open.Store(conn, true)
	case http.StateActive:
		if _, first := c.open.LoadAndDelete(conn); !first {
			return
		}
		if t, ok := conn.(*tls.Conn); ok && t.ConnectionState().DidResume {
			c.resumed.Add(1)
		}
	}
}

// secureServer serves a sink by HTTPS, with HTTP/2 for who wants it.
func secureServer(t *testing.T, s *memSink, c *census) (srv *httptest.Server, roots *x509.CertPool) {
	t.Helper()
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor > 1 {
			c.http2.Add(1)
		}
		c.wait(r)
		serveFile(w, r, s)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = c.state
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots = x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv, roots
}

// TestConnectionsOverTwoReleases downloads releases one after the other from a
// server that prefers HTTP/2. The second uses the connection of the first, and
// when that is gone its TLS session. Parallel ranges have connections of their
// own, of HTTP/1.1.
func TestConnectionsOverTwoReleases(t *testing.T) {
	seen := newCensus()
	srv, roots := secureServer(t, single(t, 8<<20, 64<<10), seen)
	client := NewClient(ClientConfig{TLS: &tls.Config{RootCAs: roots}})
	defer client.Close()
	fetch := func(conns int) {
		t.Helper()
		s := single(t, 8<<20, 64<<10)
		f, err := New(Config{Sink: s, Client: client, StartConns: conns, MaxConns: conns, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}})
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, f, time.Minute)
		s.check()
	}
	fetch(1)
	fetch(1)
	if n := seen.accepted.Load(); n != 1 {
		t.Errorf("%d connections for two releases over one", n)
	}
	// All connections are lost, as after a restart of what lies in between.
	client.mu.Lock()
	for _, list := range client.idle {
		for _, k := range list {
			k.expire.Stop()
			_ = k.Close()
		}
	}
	clear(client.idle)
	client.mu.Unlock()
	fetch(1)
	if n, again := seen.accepted.Load(), seen.resumed.Load(); n != 2 || again != 1 {
		t.Errorf("%d connections, %d of them with the session of another", n, again)
	}
	seen.together.Store(true)
	fetch(4) // and gets nothing over one connection alone
	if n := seen.http2.Load(); n > 0 {
		t.Errorf("%d requests by HTTP/2, where ranges share one connection", n)
	}
}

// TestWrongName refuses a server whose certificate is for another name, and
// takes the bytes from the other mirror.
func TestWrongName(t *testing.T) {
	seen := newCensus()
	s := single(t, 1<<20, 64<<10)
	srv, roots := secureServer(t, s, seen)
	to := srv.Listener.Addr().String()
	f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: "https://wrong.test/data.bin"}, {URL: "https://example.com/data.bin"}},
		ClientConfig: ClientConfig{TLS: &tls.Config{RootCAs: roots, InsecureSkipVerify: true}, Dial: dialTo(to)}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, f, time.Minute)
	s.check()
	st := f.Stats().Mirrors
	if st[0].Errors == 0 || st[0].Bytes > 0 || st[1].Errors > 0 {
		t.Errorf("stats %+v", st)
	}
}

// dialTo connects to one address, whatever is asked for.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}
