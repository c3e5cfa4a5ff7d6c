package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// web is a server in memory, so that time can be virtual.
type web struct {
	mu    sync.Mutex
	down  bool
	asked int // requests and failed connections
	conns []net.Conn

	accept chan net.Conn
	srv    *http.Server
	open   sync.WaitGroup // connections that are served
}

func newWeb(t testing.TB, h http.HandlerFunc) *web {
	w := &web{accept: make(chan net.Conn), srv: &http.Server{}}
	w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked++
		w.mu.Unlock()
		h(rw, r)
	})
	w.srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			w.open.Done()
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.srv.Serve(w) })
	t.Cleanup(func() {
		_ = w.srv.Close()
		serving.Wait()
		w.open.Wait()
	})
	return w
}

func (w *web) Accept() (net.Conn, error) {
	c, ok := <-w.accept
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (w *web) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.down {
		close(w.accept)
		w.down = true
	}
	return nil
}

func (w *web) Addr() net.Addr { return &net.TCPAddr{} }

func (w *web) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	w.mu.Lock()
	down := w.down
	if down {
		w.asked++
	}
	w.conns = append(w.conns, server)
	w.mu.Unlock()
	if down {
		return nil, io.ErrClosedPipe
	}
	w.open.Add(1)
	w.accept <- server
	return client, nil
}

// cut breaks all connections.
func (w *web) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *web) client(t testing.TB, o Options) *Client {
	t.Helper()
	o.Dial = w.dial
	c, err := New("http://host/tree/", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// calls is what fn was called with.
type calls struct {
	mu  sync.Mutex
	got []string
}

func (c *calls) add(ch string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, ch)
}

// take returns the calls since the last take.
func (c *calls) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.got, " ")
	c.got = nil
	return s
}
