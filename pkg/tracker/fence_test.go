package tracker

import (
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// border is a fence for tests: around 10.0.0.0/24 and 127.0.0.0/16.
type border struct {
	mu     sync.Mutex
	counts map[string]int
	last   netip.AddrPort
}

func (b *border) allows(a netip.Addr) bool {
	return netip.MustParsePrefix("10.0.0.0/24").Contains(a) || netip.MustParsePrefix("127.0.0.0/16").Contains(a)
}

func (b *border) keptOut(source string, ap netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[source]++
	b.last = ap
}

func (b *border) want(t *testing.T, what string, counts map[string]int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(b.counts, counts) {
		t.Errorf("%s: counted %v, want %v", what, b.counts, counts)
	}
	clear(b.counts)
}

func fenced(cfg Config) (Config, *border) {
	b := &border{counts: map[string]int{}}
	cfg.AllowPeer, cfg.KeptOut = b.allows, b.keptOut
	return cfg, b
}

const outsideFails = "d14:failure reason27:address is outside the zone8:retry ini60ee"

// Peers from outside are refused by whatever way they come, and are neither listed
// nor told of those inside, who go on.
func TestPeersFromOutsideAreRefused(t *testing.T) {
	cfg, b := fenced(Config{Open: true})
	s, _ := newTestServer(t, cfg)
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	for _, from := range []string{"10.0.1.1:999", "192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:10.0.1.1]:1", "[fe80::1%eth0]:1"} {
		if body := (ask{hash: 1, id: 2, left: 5, from: from}).body(t, s); body != outsideFails {
			t.Errorf("announce from %s: %q", from, body)
		}
		r := httptest.NewRequest(http.MethodGet, "/scrape?info_hash="+testHashQuery(1), nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Body.String() != outsideFails {
			t.Errorf("scrape from %s: %q", from, w.Body)
		}
		u := netip.MustParseAddrPort(from).String()
		id := connectID(t, s, u)
		for _, q := range [][]byte{udpRequest(id, udpAnnounce, udpAnnounceBody(1, 3, 9, 2, -1, 6000)...), udpRequest(id, udpScrape, hashBytes(1)...)} {
			if out := string(s.testUDP(q, u)); out != "\x00\x00\x00\x03TRANaddress is outside the zone" {
				t.Errorf("over UDP from %s: %q", from, out)
			}
		}
		b.want(t, from, map[string]int{KeptOutAnnounce: 2, KeptOutScrape: 2})
	}
	if got := addrs((ask{hash: 1, id: 4, left: 5, from: "[::ffff:10.0.0.4]:9"}).do(t, s).Peers); len(got) != 1 || !got["10.0.0.1:7000"] {
		t.Errorf("a peer inside is told of %v", got)
	}
	b.want(t, "inside", map[string]int{})
}

// The front that reads requests itself refuses them too, in a request that comes at
// once and in one that comes in parts.
func TestFrontRefusesPeersFromOutside(t *testing.T) {
	cfg, b := fenced(Config{Open: true})
	s, _ := newTestServer(t, cfg)
	addr := serveTCP(t, s, Front{Rest: s})
	ih, id := testHashQuery(1), strings.Repeat("p", 20)
	for _, q := range []string{"/announce?info_hash=" + ih + "&peer_id=" + id + "&port=7000&left=5", "/scrape?info_hash=" + ih} {
		for from, refused := range map[string]bool{"127.2.0.1": true, "127.0.0.9": false} {
			for _, parts := range [][]string{{"GET " + q + " HTTP/1.0\r\n\r\n"}, {"GET " + q + " HTTP/1.1\r\n", "Host: x\r\nConnection: close\r\n\r\n"}, {"HEAD " + q + " HTTP/1.1\r\nHost: x\r\n\r\n"}} {
				c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				for _, p := range parts {
					if _, err := io.WriteString(c, p); err != nil {
						t.Fatal(err)
					}
				}
				if strings.HasPrefix(parts[0], "GET") {
					answer, err := io.ReadAll(c)
					if err != nil || strings.HasSuffix(string(answer), outsideFails) != refused {
						t.Errorf("%s from %s: %q, %v", q, from, answer, err)
					}
				} else if _, err := c.Read(make([]byte, 1)); err != nil { // net/http answers it
					t.Error(err)
				}
				_ = c.Close()
			}
		}
	}
	b.want(t, "front", map[string]int{KeptOutAnnounce: 3, KeptOutScrape: 3})
	if st, _ := s.Torrent(testHash(1)); st.Leeches != 1 {
		t.Errorf("%+v", st)
	}
}

// What a peer inside gives for its address is passed over when it is outside.
func TestGivenAddrOutside(t *testing.T) {
	cfg, b := fenced(bttrackConfig())
	s, _ := newTestServer(t, cfg)
	ask{hash: 1, id: 1, left: 5, extra: "&compact=1&ip=10.0.7.7"}.do(t, s)
	if b.last != netip.MustParseAddrPort("10.0.7.7:7000") {
		t.Errorf("told of %v", b.last)
	}
	ask{hash: 1, id: 2, left: 5, extra: "&compact=1&ip=10.0.0.77"}.do(t, s)
	b.want(t, "given", map[string]int{KeptOutAnnounce: 1})
	if got := addrs((ask{hash: 1, id: 3, left: 5, extra: "&compact=1"}).do(t, s).Peers); len(got) != 2 || !got["10.0.0.1:7000"] || !got["10.0.0.77:7000"] {
		t.Errorf("peers %v", got)
	}
}

// A state file that was written before there was a fence does not bring peers in.
func TestStateFromOutsideIsPassedOver(t *testing.T) {
	for _, form := range []struct {
		name string
		cfg  Config
	}{{"own", Config{Open: true}}, {"dfile", bttrackConfig()}} {
		form.cfg.StateFile = filepath.Join(t.TempDir(), "state")
		form.cfg.Now = time.Now
		s, err := NewServer(form.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, from := range []string{"10.0.0.5:1", "10.0.2.5:1", "[2001:db8::5]:1"} {
			ask{hash: 1, id: i + 1, left: 5, from: from, extra: "&compact=1"}.do(t, s)
		}
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		cfg, b := fenced(form.cfg)
		if s, err = NewServer(cfg); err != nil {
			t.Fatal(err)
		}
		b.want(t, form.name, map[string]int{KeptOutDisk: 2})
		if got := addrs((ask{hash: 1, id: 9, left: 5, extra: "&compact=1"}).do(t, s).Peers); len(got) != 1 || !got["10.0.0.5:7000"] {
			t.Errorf("%s: peers %v", form.name, got)
		}
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(form.cfg.StateFile); err != nil || strings.Contains(string(data), "10.0.2.5") {
			t.Errorf("%s: %q, %v", form.name, data, err)
		}
	}
}
