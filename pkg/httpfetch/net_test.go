package httpfetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"distd/internal/layout"
)

// fakeNet is a network in memory, so that servers, time-outs and back-off run
// in the virtual time of testing/synctest.
type fakeNet struct {
	hosts map[string]*fakeHost
	delay time.Duration // of a connection
}

type fakeHost struct {
	srv   *http.Server
	conns chan net.Conn
	shut  chan struct{}
	mu    sync.Mutex
	dials int
	read  int64 // bytes that clients have read
	down  bool
	open  map[net.Conn]bool
}

func newNet() *fakeNet { return &fakeNet{hosts: map[string]*fakeHost{}} }

// host serves h as http://name/.
func (n *fakeNet) host(t *testing.T, name string, h http.Handler) *fakeHost {
	f := &fakeHost{conns: make(chan net.Conn), shut: make(chan struct{}), open: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	f.srv = &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		h.ServeHTTP(w, r)
	})}
	n.hosts[name+":80"] = f
	wg.Go(func() { _ = f.srv.Serve(f) })
	t.Cleanup(func() {
		close(f.shut)
		_ = f.srv.Close()
		wg.Wait()
	})
	return f
}

func (f *fakeHost) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.shut:
		return nil, net.ErrClosed
	}
}
func (f *fakeHost) Close() error   { return nil }
func (f *fakeHost) Addr() net.Addr { return &net.TCPAddr{} }

// setDown makes the host refuse connections and cuts those it has.
func (f *fakeHost) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	for c := range f.open {
		if down {
			_ = c.Close()
			delete(f.open, c)
		}
	}
}

func (f *fakeHost) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func (n *fakeNet) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	f := n.hosts[addr]
	if f == nil {
		return nil, fmt.Errorf("no host %s", addr)
	}
	if n.delay > 0 {
		select {
		case <-time.After(n.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	f.dials++
	down := f.down
	f.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	select {
	case f.conns <- b:
		f.mu.Lock()
		f.open[b] = true
		f.mu.Unlock()
		return &counted{newBuffered(a), f}, nil
	case <-f.shut:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read is how many bytes clients have read from a host.
func (n *fakeNet) read(name string) int64 {
	f := n.hosts[name+":80"]
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read
}

// counted counts what is read from a host.
type counted struct {
	net.Conn
	host *fakeHost
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.host.mu.Lock()
	c.host.read += int64(n)
	c.host.mu.Unlock()
	return n, err
}

// buffered is a net.Pipe whose writes do not wait for the reader, as those to a
// socket do not.
type buffered struct {
	net.Conn
	out  chan []byte
	once sync.Once
	shut chan struct{}
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, out: make(chan []byte, 256), shut: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-b.out:
				if _, err := c.Write(p); err != nil {
					return
				}
			case <-b.shut:
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case <-b.shut:
		return 0, net.ErrClosed
	case b.out <- append([]byte(nil), p...):
		return len(p), nil
	}
}

func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

func (b *buffered) Close() error {
	b.once.Do(func() { close(b.shut) })
	return b.Conn.Close()
}

// good serves the files of a sink as a decent server does.
func good(s *memSink) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, s) }
}

func serveFile(w http.ResponseWriter, r *http.Request, s *memSink) {
	for i, f := range s.lay.Files {
		if "/"+f.Path == r.URL.Path {
			w.Header().Set("ETag", fmt.Sprintf(`"file-%d"`, i))
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.file(i)))
			return
		}
	}
	http.NotFound(w, r)
}

// throttled serves at a rate for each connection, in bytes/s.
func throttled(s *memSink, rate int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		serveFile(&slowWriter{ResponseWriter: w, rate: rate}, r, s)
	}
}

type slowWriter struct {
	http.ResponseWriter
	rate int
}

func (w *slowWriter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n := min(len(p), max(1, w.rate/50))
		time.Sleep(time.Duration(float64(n) / float64(w.rate) * float64(time.Second)))
		k, err := w.ResponseWriter.Write(p[:n])
		total += k
		if err != nil {
			return total, err
		}
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return total, err
		}
		p = p[n:]
	}
	return total, nil
}

// single is the sink of one file of n bytes.
func single(t testing.TB, n, pieceLength int64) *memSink {
	return newSink(t, pieceLength, layout.File{Path: "data.bin", Length: n})
}

// fetcher makes a fetcher of mirrors on the fake network: "host" is tier 0,
// "host/1" tier 1.
func (n *fakeNet) fetcher(t *testing.T, s *memSink, edit func(*Config), hosts ...string) *Fetcher {
	t.Helper()
	cfg := Config{Sink: s, ClientConfig: ClientConfig{Dial: n.dial}}
	for _, h := range hosts {
		host, tier, _ := strings.Cut(h, "/")
		m := Mirror{URL: "http://" + host + "/data.bin"}
		if strings.Contains(s.lay.Files[0].Path, "/") {
			root, _, _ := strings.Cut(s.lay.Files[0].Path, "/")
			m.URL = "http://" + host + "/" + root + "/"
		}
		_, _ = fmt.Sscan(tier, &m.Tier)
		cfg.Mirrors = append(cfg.Mirrors, m)
	}
	if edit != nil {
		edit(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// mustRun runs a fetcher to its end within a time.
func mustRun(t *testing.T, f *Fetcher, within time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	start := time.Now()
	if err := f.Run(ctx); err != nil {
		t.Fatalf("Run: %v; state %+v", err, f.Stats())
	}
	return time.Since(start)
}
