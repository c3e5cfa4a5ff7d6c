package upstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"testing"
	"time"

	"distd/internal/serve"
	"distd/internal/upstream"
)

// catalog has one channel and nothing else.
type catalog struct {
	mu     sync.Mutex
	serial int
}

func (c *catalog) pointer(step int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial += step
	return fmt.Appendf(nil, `{"channel":"web","serial":%d}`, c.serial)
}

func (c *catalog) Channels() []string { return []string{"web"} }
func (c *catalog) Pointer(ch string) (data, sig []byte, err error) {
	if ch != "web" {
		return nil, nil, fs.ErrNotExist
	}
	data = c.pointer(0)
	return data, append([]byte("signed "), data...), nil
}
func (c *catalog) Release(string) (*serve.Release, error) { return nil, fs.ErrNotExist }
func (c *catalog) Named(string) (*serve.Release, error)   { return nil, fs.ErrNotExist }
func (c *catalog) PublicKey() []byte                      { return []byte("key") }

// TestAgainstTheServer has the client hear of releases from a real server,
// through a restart of that server.
func TestAgainstTheServer(t *testing.T) {
	cat := &catalog{serial: 1}
	start := func(addr string) (s *serve.Server, at string, stop func()) {
		t.Helper()
		s, err := serve.New(serve.Config{Catalog: cat, ShutdownGrace: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, ln) }()
		return s, ln.Addr().String(), sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	s, addr, stop := start("127.0.0.1:0")
	defer stop()
	c, err := upstream.New("http://"+addr, upstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	news := make(chan string, 100)
	watched := make(chan error, 1)
	go func() { watched <- c.Watch(ctx, nil, func(ch string) { news <- ch }) }()
	serial := func(want int) { // waits for news that lead to the serial
		t.Helper()
		for {
			select {
			case ch := <-news:
				data, sig, err := c.Pointer(ctx, ch)
				var p struct{ Serial int }
				if err != nil || json.Unmarshal(data, &p) != nil || string(sig) != "signed "+string(data) {
					t.Fatalf("pointer %q %q: %v", data, sig, err)
				}
				if p.Serial == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("no news of serial %d", want)
			}
		}
	}
	serial(1)
	data := cat.pointer(1)
	s.Announce("web", data, append([]byte("signed "), data...))
	serial(2)
	stop()
	cat.pointer(1) // a release while the server is down
	told, _, stop := start(addr)
	defer stop()
	serial(3)
	// What an event has brought is used once, and given up when it is not good.
	data = cat.pointer(1)
	told.Announce("web", data, []byte("a bad signature"))
	for sig := ""; sig != "a bad signature"; {
		select {
		case ch := <-news:
			got, s, err := c.Pointer(ctx, ch)
			if err != nil {
				t.Fatal(err)
			}
			if sig = string(s); sig == "a bad signature" && string(got) != string(data) {
				t.Errorf("the event's pointer is %q, not %q", got, data)
			}
		case <-ctx.Done():
			t.Fatal("the event's pointer is not the next one")
		}
	}
	c.Forget("web")
	if got, sig, err := c.Pointer(ctx, "web"); err != nil || string(got) != string(data) || string(sig) != "signed "+string(data) {
		t.Errorf("then it is not read anew: %q %q %v", got, sig, err)
	}
	if key, err := c.PublicKey(ctx); err != nil || string(key) != "key" {
		t.Errorf("key %q, %v", key, err)
	}
	cancel()
	<-watched
	c.Close()
	stop()
}
