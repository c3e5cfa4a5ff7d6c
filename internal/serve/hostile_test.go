package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ended waits until the other side closes the connection and says how long
// that took.
func ended(conn net.Conn) (time.Duration, string) {
	start := time.Now()
	b, _ := io.ReadAll(conn)
	return time.Since(start), string(b)
}

func TestSlowClients(t *testing.T) {
	for _, tc := range []struct {
		name, send string
		drip       string // sent byte by byte, one a second
		min, max   time.Duration
		answer     string
	}{
		{name: "says nothing", min: 10 * time.Second, max: 11 * time.Second},
		{name: "half a header", send: "GET / HTTP/1.1\r\nHost: h\r\n", min: 10 * time.Second, max: 11 * time.Second},
		{name: "endless header", send: "GET / HTTP/1.1\r\nHost: h\r\n", drip: strings.Repeat("X: y\r\n", 100), min: 10 * time.Second, max: 11 * time.Second},
		{name: "body held back", send: "POST /announce HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx", max: 2 * time.Second, answer: "405"},
		{name: "chunks held back", send: "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1", max: 2 * time.Second, answer: "413"},
		{name: "idle", send: "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", min: 2 * time.Minute, max: 2*time.Minute + time.Second, answer: "200"},
		{name: "large header", send: "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("y", 32<<10) + "\r\n\r\n", max: time.Second, answer: "431"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Config{Catalog: newCatalog()})
				p := newPipes()
				stop := run(t, s, p)
				conn := p.dial(t, "192.0.2.1:1")
				var sender sync.WaitGroup
				sender.Go(func() {
					_, _ = io.WriteString(conn, tc.send)
					for i := range len(tc.drip) {
						time.Sleep(time.Second)
						if _, err := conn.Write([]byte{tc.drip[i]}); err != nil {
							return
						}
					}
				})
				took, answer := ended(conn)
				if took < tc.min || took > tc.max || !strings.Contains(answer, tc.answer) {
					t.Errorf("ended after %v with %q", took, answer)
				}
				_ = conn.Close()
				sender.Wait()
				synctest.Wait()
				if s.conns.len() != 0 {
					t.Errorf("%d connections left", s.conns.len())
				}
				stop()
			})
		})
	}
}

// TestDownloads has one client that stops reading, which is dropped, and one
// that reads slowly for hours, which is served to the end.
func TestDownloads(t *testing.T) {
	const size = 64 << 20
	c := newCatalog()
	c.iso(t, size)
	get := func(t *testing.T, p *pipes) (net.Conn, *http.Response) {
		conn := p.dial(t, "192.0.2.1:1")
		if _, err := io.WriteString(conn, "GET /"+escapedISO+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, r
	}
	t.Run("stalled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, Config{Catalog: c})
			p := newPipes()
			stop := run(t, s, p)
			conn, r := get(t, p)
			if _, err := io.CopyN(io.Discard, r.Body, 1<<20); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if s.conns.len() != 1 {
				t.Error("dropped too early")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s.conns.len() != 0 {
				t.Error("a stalled download holds its connection")
			}
			_ = conn.Close()
			stop()
		})
	})
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, Config{Catalog: c})
			p := newPipes()
			stop := run(t, s, p)
			conn, r := get(t, p)
			start := time.Now()
			for n := 0; n < size; n += stallChunk { // 5 KiB/s
				if _, err := io.CopyN(io.Discard, r.Body, stallChunk); err != nil {
					t.Fatalf("after %v and %d bytes: %v", time.Since(start), n, err)
				}
				time.Sleep(50 * time.Second)
			}
			if time.Since(start) < 3*time.Hour {
				t.Errorf("only %v", time.Since(start))
			}
			// The connection is good for another request.
			go func() { _, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n") }()
			if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != 200 {
				t.Errorf("second request: %v", err)
			}
			_ = conn.Close()
			stop()
		})
	})
}

func TestConnectionCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{Catalog: newCatalog(), MaxConns: 8, MaxConnsPerAddr: 2})
		p := newPipes()
		stop := run(t, s, p)
		var open []net.Conn
		for i, tc := range []struct {
			addr string
			ok   bool
		}{
			{"192.0.2.1:1", true}, {"192.0.2.1:2", true}, {"192.0.2.1:3", false}, {"[::ffff:192.0.2.1]:4", false},
			{"192.0.2.2:1", true}, {"[2001:db8::1]:1", true},
			{"127.0.0.1:1", true}, {"127.0.0.1:2", true}, {"127.0.0.1:3", true}, {"[::1]:1", true}, // 8 in all
			{"192.0.2.3:1", false}, {"127.0.0.1:4", false},
		} {
			conn := p.dial(t, tc.addr)
			open = append(open, conn)
			synctest.Wait()
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, err := conn.Write([]byte("G"))
			if (err == nil) != tc.ok {
				t.Errorf("connection %d from %s: %v, want %v", i, tc.addr, err, tc.ok)
			}
		}
		if s.conns.len() != 8 {
			t.Errorf("%d connections", s.conns.len())
		}
		for _, conn := range open {
			_ = conn.Close()
		}
		synctest.Wait()
		if s.conns.len() != 0 || len(s.conns.byAddr) != 0 {
			t.Errorf("%d connections left, %v", s.conns.len(), s.conns.byAddr)
		}
		stop()
	})
}

func TestShutdown(t *testing.T) {
	c := newCatalog()
	c.iso(t, 8<<20)
	for _, finishes := range []bool{true, false} {
		t.Run(fmt.Sprint(finishes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Config{Catalog: c})
				p := newPipes()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Serve(ctx, p) }()
				r, err := p.client(t, "192.0.2.1:1").Get("http://h/" + escapedISO)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = r.Body.Close() }()
				start := time.Now()
				cancel()
				time.Sleep(time.Second)
				if finishes {
					if n, err := io.Copy(io.Discard, r.Body); err != nil || n != 8<<20 {
						t.Errorf("running download got %d bytes: %v", n, err)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if took := time.Since(start); finishes != (took < 2*time.Second) || took > 6*time.Second {
					t.Errorf("shutdown took %v", took)
				}
				if _, err := io.Copy(io.Discard, r.Body); (err == nil) != finishes {
					t.Errorf("after shutdown: %v", err)
				}
			})
		})
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	s := newServer(t, Config{Catalog: newCatalog()})
	ln := listen(t)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v", err)
	}
}

// spy sees what the server hands to the connection for sending.
type spy struct {
	*net.TCPConn
	files chan string
}

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	if lr, ok := r.(*io.LimitedReader); ok {
		select {
		case s.files <- fmt.Sprintf("%T", lr.R):
		default:
		}
	}
	return s.TCPConn.ReadFrom(r)
}

type spyListener struct {
	net.Listener
	files chan string
}

func (l *spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &spy{c.(*net.TCPConn), l.files}, nil
}

// TestSendfile checks that the connection gets the file itself in a limited
// reader, the only form that the net package sends with sendfile(2).
func TestSendfile(t *testing.T) {
	c := newCatalog()
	c.iso(t, 1<<20)
	s := newServer(t, Config{Catalog: c})
	ln := &spyListener{listen(t), make(chan string, 100)}
	srv := &http.Server{Handler: s.Handler()}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	r, err := http.Get("http://" + ln.Addr().String() + "/" + escapedISO)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(body(t, r)); n != 1<<20 {
		t.Errorf("%d bytes", n)
	}
	http.DefaultClient.CloseIdleConnections()
	_ = srv.Close()
	<-done
	close(ln.files)
	n := 0
	for f := range ln.files {
		if n++; f != "*os.File" {
			t.Errorf("the connection was given a %s", f)
		}
	}
	if n < 4 {
		t.Errorf("%d stretches for 1 MiB", n)
	}
	// And the type that the limits put around a connection keeps its ReadFrom.
	var _ io.ReaderFrom = &tcpConn{}
}
