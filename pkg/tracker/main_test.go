package tracker

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.t = c.t.Add(d)
	c.mu.Unlock()
}

func newTestServer(t testing.TB, cfg Config) (*Server, *clock) {
	t.Helper()
	c := newClock()
	if cfg.Now == nil {
		cfg.Now = c.now
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func testHash(n int) (h [20]byte) {
	copy(h[:], "infohash")
	binary.BigEndian.PutUint32(h[16:], uint32(n))
	return h
}

func peerID(n int) (id [20]byte) {
	copy(id[:], "-XX0000-")
	binary.BigEndian.PutUint32(id[16:], uint32(n))
	return id
}

// ask is an announce over HTTP in a test.
type ask struct {
	hash  int
	id    int
	from  string // address and port of the connection; "10.0.0.ID:1" when empty
	port  int    // 7000 when 0
	left  int
	extra string
}

func (a ask) request() *http.Request {
	if a.from == "" {
		a.from = fmt.Sprintf("10.0.%d.%d:999", a.id>>8, a.id&255)
	}
	if a.port == 0 {
		a.port = 7000
	}
	ih, id := testHash(a.hash), peerID(a.id)
	r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/announce?info_hash=%s&peer_id=%s&port=%d&uploaded=0&downloaded=0&left=%d%s",
		url.QueryEscape(string(ih[:])), url.QueryEscape(string(id[:])), a.port, a.left, a.extra), nil)
	r.RemoteAddr = a.from
	return r
}

func (a ask) body(t testing.TB, s *Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, a.request())
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func (a ask) do(t testing.TB, s *Server) *Response {
	t.Helper()
	body := a.body(t, s)
	r, err := parseResponse([]byte(body))
	if err != nil {
		t.Fatalf("answer %q: %v", body, err)
	}
	return r
}

func addrs(list []netip.AddrPort) map[string]bool {
	m := map[string]bool{}
	for _, a := range list {
		m[a.String()] = true
	}
	return m
}
