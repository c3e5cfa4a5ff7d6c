package tracker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveTCP runs ServeTCP until the test ends and returns its address.
func serveTCP(t testing.TB, s *Server, cfg Front) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeTCP(ctx, ln, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// wire is a connection on which a test speaks HTTP by hand.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{t, c, bufio.NewReader(c)}
}

func (w *wire) send(parts ...string) {
	w.t.Helper()
	for _, p := range parts {
		if _, err := io.WriteString(w.conn, p); err != nil {
			w.t.Fatal(err)
		}
	}
}

// answer reads an answer, and whether the connection stays.
func (w *wire) answer() (status int, body string, stays bool) {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b), !resp.Close
}

func (w *wire) ends() {
	w.t.Helper()
	if b, err := io.ReadAll(w.r); len(b) > 0 {
		w.t.Errorf("it goes on with %q, %v", b, err)
	}
}

func target(a ask) string { return a.request().URL.RequestURI() }

func TestServeTCP(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	addr := serveTCP(t, s, Front{Rest: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "rest %s %s %s", r.Method, r.URL.Path, b)
	})})
	one := target(ask{hash: 1, id: 1, left: 5})
	for _, tt := range []struct {
		name  string
		send  []string
		want  []string // one for each answer: what it begins with
		stays bool
	}{
		{"keep-alive", []string{"GET " + one + " HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"d8:complete"}, true},
		{"close", []string{"GET " + one + " HTTP/1.1\r\nconnection: Close\r\n\r\n"}, []string{"d8:complete"}, false},
		{"old", []string{"GET " + one + " HTTP/1.0\r\n\r\n"}, []string{"d8:complete"}, false},
		{"old that stays", []string{"GET " + one + " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"}, []string{"d8:complete"}, true},
		{"pipelined", []string{strings.Repeat("GET "+one+" HTTP/1.1\r\nHost: x\r\n\r\n", 30)}, slicesOf("d8:complete", 30), true},
		{"in pieces", []string{"GET " + one[:20], one[20:] + " HTTP/1.1\r\nHost: x\r", "\n\r", "\n"}, []string{"d8:complete"}, true},
		{"scrape", []string{"GET /scrape.php?info_hash=" + testHashQuery(1) + " HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"d5:filesd20:"}, true},
		{"other path", []string{"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"rest GET /x "}, true},
		{"other, then announce", []string{"GET " + one + " HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"d8:complete", "rest GET /y "}, true},
		{"with a body", []string{"GET /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"}, []string{"rest GET /announce abc"}, true},
		{"POST", []string{"POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"}, []string{"rest POST /announce abc"}, true},
		{"long head", []string{"GET " + one + " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 6000) + "\r\n\r\n"}, []string{"rest GET /announce "}, true},
		{"garbage", []string{"\x00\x01\x02\r\n\r\n"}, []string{"400 Bad Request"}, false},
		{"no version", []string{"GET " + one + "\r\n\r\n"}, []string{"400 Bad Request"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := dialWire(t, addr)
			w.send(tt.send...)
			stays := false
			for _, want := range tt.want {
				var body string
				if _, body, stays = w.answer(); !strings.HasPrefix(body, want) {
					t.Fatalf("answer %q, want %q", body, want)
				}
			}
			if stays != tt.stays {
				t.Errorf("the connection stays: %v", stays)
			}
			if !stays {
				w.ends()
			}
		})
	}
}

func slicesOf(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestServeTCPHoldsBounds: connections beyond the bound wait for a place, and
// none is kept when places are short.
func TestServeTCPHoldsBounds(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	addr := serveTCP(t, s, Front{MaxConns: 4})
	var idle []*wire
	for i := range 2 {
		w := dialWire(t, addr)
		w.send("GET " + target(ask{hash: 1, id: i, left: 5}) + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, _, stays := w.answer(); !stays {
			t.Fatal("is not kept while there is room")
		}
		idle = append(idle, w)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target(ask{hash: 1, id: 100 + i, left: 5}))
			if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "Connection: close") {
				t.Errorf("answer %q, %v", b, err)
			}
		})
	}
	all.Wait()
	for _, w := range idle { // they were left alone
		w.send("GET " + target(ask{hash: 1, id: 1, left: 5}) + " HTTP/1.1\r\nHost: x\r\n\r\n")
		w.answer()
	}
}

// TestServeTCPEnds: when the server ends it does not wait for those that are
// silent, whoever has their connection.
func TestServeTCPEnds(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeTCP(ctx, ln, Front{}) }()
	silent := dialWire(t, ln.Addr().String())
	silent.send("GET /ann")
	other := dialWire(t, ln.Addr().String())
	other.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	other.answer()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	silent.ends()
	other.ends()
}

// TestServeTCPSilent: who sends nothing is sent away after the head's time.
func TestServeTCPSilent(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	w := dialWire(t, serveTCP(t, s, Front{HeadTimeout: 50 * time.Millisecond}))
	w.send("GET /announce?")
	w.ends()
}

func FuzzParseHead(f *testing.F) {
	f.Add("GET /announce?info_hash=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
	f.Add("GET /scrape HTTP/1.0\r\nContent-Length: 1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseHead([]byte(text))
		if !ok {
			return
		}
		// What is taken here means the same to net/http, if it takes it at all.
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "\r\n")))
		if err != nil {
			return
		}
		if req.Method != "GET" || req.URL.RawQuery != r.query && !strings.Contains(r.query, "#") || req.ContentLength > 0 || len(req.TransferEncoding) > 0 {
			t.Errorf("%q is %+v here and %+v there", text, r, req)
		}
	})
}

// TestServeTCPLongAnswer: an answer that no socket takes at once comes whole,
// and the connection then ends or stays as it should.
func TestServeTCPLongAnswer(t *testing.T) {
	s, _ := newTestServer(t, bttrackConfig())
	const torrents = 100_000
	for i := range torrents {
		s.Allow(testHash(i), "x")
	}
	addr := serveTCP(t, s, Front{})
	for _, end := range []string{"close", "keep-alive"} {
		w := dialWire(t, addr)
		w.send("GET /scrape HTTP/1.1\r\nConnection: " + end + "\r\n\r\n")
		_, body, stays := w.answer()
		if n := strings.Count(body, "8:complete"); n != torrents || stays != (end == "keep-alive") {
			t.Errorf("%s: %d torrents, stays %v", end, n, stays)
		}
		if stays {
			w.send("GET /scrape?info_hash=" + testHashQuery(1) + " HTTP/1.1\r\nHost: x\r\n\r\n")
			w.answer()
		} else {
			w.ends()
		}
	}
}

// TestServeTCPOwnPeer: the own peer's address is the one that was reached.
func TestServeTCPOwnPeer(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	s.AddPeer(testHash(1), Peer{ID: peerID(99), Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 6881)})
	w := dialWire(t, serveTCP(t, s, Front{}))
	for range 2 { // at once, and by the one who goes on
		w.send("GET " + target(ask{hash: 1, id: 1, left: 5}) + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body, _ := w.answer(); !strings.Contains(body, "5:peers6:\x7f\x00\x00\x01\x1a\xe1") {
			t.Errorf("answer %q", body)
		}
	}
}
