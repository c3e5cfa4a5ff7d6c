package tracker

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// bttrackConfig is what `distd tracker` uses by default.
func bttrackConfig() Config {
	return Config{Open: true, Interval: 5 * time.Second, MinInterval: 5 * time.Second, Expiry: 45 * time.Minute,
		Bttrack: &Bttrack{CompactRequired: true, ScrapeOne: true, ScrapeAll: true, ScrapeNames: true, GivenAddr: netip.Addr.IsPrivate}}
}

func get(s *Server, target string) (int, string) {
	r := httptest.NewRequest("GET", target, nil)
	r.RemoteAddr = "10.0.0.1:999"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestBttrackAnswers(t *testing.T) {
	ih := strings.Repeat("a", 20)
	id := strings.Repeat("p", 20)
	full := "/announce?info_hash=" + ih + "&peer_id=" + id + "&port=7000&left=5&compact=1"
	for _, tt := range []struct {
		name, target string
		change       func(*Config)
		status       int
		body         string
	}{
		{"announce", full, nil, 200, "d8:completei0e10:incompletei1e8:intervali5e5:peers0:e"},
		{"php", strings.Replace(full, "/announce", "/tracker.php/announce", 1), nil, 200, "d8:completei0e10:incompletei1e8:intervali5e5:peers0:e"},
		{"crypto", full + "&supportcrypto=1", nil, 200, "d8:completei0e12:crypto_flags0:10:incompletei1e8:intervali5e5:peers0:e"},
		{"not allowed", full, func(c *Config) { c.Open = false }, 200, "d14:failure reason63:Requested download is not authorized for use with this tracker.e"},
		{"banned", full, func(c *Config) { c.Admit = func(netip.Addr) bool { return false } }, 400, "d14:failure reason38:your IP is not allowed on this trackere"},
		{"no infohash", "/announce?peer_id=" + id, nil, 400, "you sent me garbage - info_hash is not 20 bytes"},
		{"no left", strings.Replace(full, "&left=5", "", 1), nil, 400, "you sent me garbage - invalid amount left"},
		{"not compact", strings.Replace(full, "&compact=1", "", 1), nil, 400, "your client is outdated, please upgrade"},
		{"not compact, allowed", strings.Replace(full, "&compact=1", "", 1), func(c *Config) { c.Bttrack.CompactRequired = false }, 200,
			"d8:completei0e10:incompletei1e8:intervali5e5:peerslee"},
		{"scrape", "/scrape?info_hash=" + testHashQuery(1), nil, 200, "d5:filesd20:" + string(hashBytes(1)) + "d8:completei0e10:downloadedi0e10:incompletei0e4:name1:xeee"},
		{"scrape of all", "/scrape", nil, 200, "d5:filesd20:" + string(hashBytes(1)) + "d8:completei0e10:downloadedi0e10:incompletei0e4:name1:xeee"},
		{"no scrape of all", "/scrape", func(c *Config) { c.Bttrack.ScrapeAll = false }, 400, "d14:failure reason56:full scrape function is not available with this tracker.e"},
		{"no scrape", "/scrape?info_hash=" + testHashQuery(1), func(c *Config) { c.Bttrack.ScrapeOne = false }, 400, "d14:failure reason60:specific scrape function is not available with this tracker.e"},
	} {
		cfg := bttrackConfig()
		if tt.change != nil {
			tt.change(&cfg)
		}
		s, _ := newTestServer(t, cfg)
		s.Allow(testHash(1), "x")
		if status, body := get(s, tt.target); status != tt.status || body != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.name, status, body, tt.status, tt.body)
		}
	}
}

func hashBytes(n int) []byte { h := testHash(n); return h[:] }

func testHashQuery(n int) string {
	var b strings.Builder
	for _, c := range hashBytes(n) {
		b.WriteString("%" + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	return b.String()
}

// TestGivenAddr: a peer's own word for its address is taken from those that
// may give it, and only when it is an address.
func TestGivenAddr(t *testing.T) {
	s, _ := newTestServer(t, bttrackConfig())
	const c = "&compact=1"
	ask{hash: 1, id: 1, left: 5, extra: c + "&ip=192.0.2.7"}.do(t, s)
	ask{hash: 1, id: 2, left: 5, extra: c + "&ip=bt.local.dc"}.do(t, s)
	ask{hash: 1, id: 3, left: 5, extra: c + "&ip=0.0.0.0"}.do(t, s)
	ask{hash: 1, id: 4, left: 5, extra: c + "&ip=192.0.2.9", from: "198.51.100.4:5"}.do(t, s)
	got := addrs(ask{hash: 1, id: 9, left: 5, extra: c}.do(t, s).Peers)
	for _, want := range []string{"192.0.2.7:7000", "10.0.0.2:7000", "10.0.0.3:7000", "198.51.100.4:7000"} {
		if !got[want] || len(got) != 4 {
			t.Errorf("peers %v lack %s", got, want)
		}
	}
}

// TestCryptoFlags: a client that speaks of encryption is told who requires it.
func TestCryptoFlags(t *testing.T) {
	s, _ := newTestServer(t, bttrackConfig())
	ask{hash: 1, id: 1, left: 5, extra: "&compact=1&requirecrypto=1"}.do(t, s)
	if body := (ask{hash: 1, id: 2, left: 5, extra: "&compact=1&supportcrypto=1"}).body(t, s); !strings.Contains(body, "12:crypto_flags1:\x0110:incomplete") {
		t.Errorf("answer %q", body)
	}
	if body := (ask{hash: 1, id: 3, left: 5, extra: "&compact=1"}).body(t, s); strings.Contains(body, "crypto") {
		t.Errorf("answer %q", body)
	}
}

// TestStretchHoldsTheTarget: the intervals that peers are told add up to the
// target rate, however often they came before they were told.
func TestStretchHoldsTheTarget(t *testing.T) {
	cfg := bttrackConfig()
	cfg.TargetRate = 100
	s, _ := newTestServer(t, cfg)
	for i := range 5000 { // at 5 s they would come 1,000 times a second
		ask{hash: i % 10, id: i, left: 5, extra: "&compact=1"}.do(t, s)
	}
	seen := map[time.Duration]bool{}
	for i := range 100 {
		r := ask{hash: 1, id: i*10 + 1, left: 5, extra: "&compact=1"}.do(t, s)
		if r.Interval < 50*time.Second || r.Interval > 64*time.Second {
			t.Fatalf("interval %v", r.Interval)
		}
		seen[r.Interval] = true
	}
	if len(seen) < 5 {
		t.Errorf("all come back together: %v", seen)
	}
}

func TestKeepDead(t *testing.T) {
	for _, keep := range []bool{false, true} {
		cfg := bttrackConfig()
		cfg.KeepDead = keep
		s, clk := newTestServer(t, cfg)
		ask{hash: 1, id: 1, left: 5, extra: "&compact=1"}.do(t, s)
		clk.add(2 * time.Hour)
		s.sweep()
		if st := s.Stats(); st.Peers != 0 || (st.Torrents == 1) != keep {
			t.Errorf("keep_dead %v: %+v", keep, st)
		}
	}
}
