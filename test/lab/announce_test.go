package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

func TestCheckAnswer(t *testing.T) {
	for _, tt := range []struct {
		answer    string
		whole, ok bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nd5:peers0:", true, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nd5:peers0:", false, true},
		{"HTTP/1.1 200 OK\r\nContent-Le", false, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nd5:peers0:", false, false},
		{"HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nd5:peers0:", false, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nd1e", false, false},
		{"HTTP/1.1 200 OK\r\n\r\nd5:peers0:e", false, false},
	} {
		if whole, err := checkAnswer([]byte(tt.answer)); whole != tt.whole || (err == nil) != tt.ok {
			t.Errorf("%q: %v, %v", tt.answer, whole, err)
		}
	}
}

// TestAnnounceLoad: every announce is made once, and failures are counted.
func TestAnnounceLoad(t *testing.T) {
	var asked, conns atomic.Int64
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ih := testInfoHash(2); bytes.Equal([]byte(r.URL.Query().Get("info_hash")), ih[:]) {
				w.WriteHeader(http.StatusBadRequest)
			}
			asked.Add(1)
			_, _ = w.Write([]byte("d5:peers0:e"))
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		},
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	defer func() { _ = srv.Close(); <-done }()
	for _, keep := range []bool{false, true} {
		asked.Store(0)
		conns.Store(0)
		l := &announceLoad{to: netip.MustParseAddrPort(ln.Addr().String()), torrents: 10, peers: 10, connections: 5, keep: keep, timeout: 20 * time.Second}
		r := l.run(context.Background(), 0, 100)
		if r.ok != 90 || r.failed != 10 || r.err == nil || asked.Load() != 100 {
			t.Errorf("%+v, asked %d", r, asked.Load())
		}
		if n := conns.Load(); !keep && n != 100 || keep && n > 20 {
			t.Errorf("keep %v: %d connections", keep, n)
		}
	}
}
