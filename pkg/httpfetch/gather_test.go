package httpfetch

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestGather(t *testing.T) {
	for _, c := range []struct {
		left int64
		rate float64
		rtt  time.Duration
		want int
	}{
		{10 << 20, 0, 80 * time.Millisecond, 1},
		{10 << 20, 500e3, 80 * time.Millisecond, 16 << 10},
		{10 << 20, 50e3, 80 * time.Millisecond, 1}, // too seldom
		{10 << 20, 100e6, 200 * time.Microsecond, maxGather},
		{above + 9<<10, 100e6, 80 * time.Millisecond, 8 << 10},
		{above, 100e6, 80 * time.Millisecond, 1}, // what is left may be in buffers
		{1, 100e6, 80 * time.Millisecond, 1},
	} {
		if got := gather(c.left, c.rate, c.rtt); got != c.want {
			t.Errorf("%d bytes left at %v B/s over %v: %d, want %d", c.left, c.rate, c.rtt, got, c.want)
		}
	}
}

// TestGatherNeverWaitsForTheEnd downloads over real sockets, in TLS, with ends of
// every kind: a reader that waits for more than comes would stand still.
func TestGatherNeverWaitsForTheEnd(t *testing.T) {
	for _, size := range []int64{1, 100 << 10, 1<<20 + 7, 5 << 20} {
		s := single(t, size, 64<<10)
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, s) }))
		f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: srv.URL + "/data.bin"}}, IdleTimeout: time.Minute,
			ClientConfig: ClientConfig{TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := f.Run(ctx); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		cancel()
		srv.Close()
		s.check()
	}
}

// TestLowat: the kernel wakes the reader when what is waited for is there, and at
// the end of the stream.
func TestLowat(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 3000))
			w.(http.Flusher).Flush()
		}
	}))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	u, err := parseBase(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.get(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	if err := k.send(http.MethodGet, u, http.Header{"Connection": {"close"}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	k.gather(10<<20, 100e6)
	if k.raw == nil || k.lowat != maxGather {
		t.Fatalf("waits for %d bytes", k.lowat)
	}
	resp, err := k.receive(http.MethodGet, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 12000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
