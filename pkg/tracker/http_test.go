package tracker

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"
)

func TestHTTPBytes(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true, Interval: 5 * time.Second, MinInterval: 5 * time.Second})
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	ask{hash: 1, id: 0x3033, left: 0, from: "[fd00::3]:9", port: 0x4142}.do(t, s)
	const head = "d8:completei1e10:downloadedi0e10:incompletei2e8:intervali5e12:min intervali5e"
	for extra, want := range map[string][]string{
		"&compact=1&numwant=9": {"5:peers6:\x0a\x00\x00\x01\x1b\x586:peers618:\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x41\x42e"},
		"&compact=0": {
			"5:peersld2:ip8:10.0.0.17:peer id20:-XX0000-\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x014:porti7000eed2:ip7:fd00::37:peer id20:-XX0000-\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x30\x334:porti16706eeee",
			"5:peersld2:ip7:fd00::37:peer id20:-XX0000-\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x30\x334:porti16706eed2:ip8:10.0.0.17:peer id20:-XX0000-\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x014:porti7000eeee",
		},
		"&compact=0&no_peer_id=1": {
			"5:peersld2:ip8:10.0.0.14:porti7000eed2:ip7:fd00::34:porti16706eeee",
			"5:peersld2:ip7:fd00::34:porti16706eed2:ip8:10.0.0.14:porti7000eeee",
		},
		"&numwant=0": {"5:peers0:e"},
	} {
		got := ask{hash: 1, id: 2, left: 5, extra: extra}.body(t, s)
		ok := false
		for _, w := range want {
			ok = ok || got == head+w
		}
		if !ok {
			t.Errorf("%s: got\n%q, want\n%q", extra, got, head+want[0])
		}
	}
}

func TestHTTPScrape(t *testing.T) {
	s, _ := newTestServer(t, Config{Interval: 5 * time.Second, MinInterval: 5 * time.Second})
	for i := range 2 {
		s.Allow(testHash(i+1), "")
		ask{hash: i + 1, id: 1, left: i}.do(t, s)
	}
	query := "/scrape?"
	for _, i := range []int{2, 1, 3, 2} { // not in order, one unknown, one twice
		h := testHash(i)
		query += "info_hash=" + url.QueryEscape(string(h[:])) + "&"
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, query, nil))
	const want = "d5:filesd" +
		"20:infohash\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01d8:completei1e10:downloadedi0e10:incompletei0ee" +
		"20:infohash\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02d8:completei0e10:downloadedi0e10:incompletei1ee" +
		"e5:flagsd20:min_request_intervali5eee"
	if w.Body.String() != want {
		t.Errorf("got\n%q, want\n%q", w.Body, want)
	}
}

func TestHTTPPathsAndMethods(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	for _, tt := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/announce", 200}, {"GET", "/x/announce.php", 200}, {"GET", "/tracker.php/scrape", 200}, {"HEAD", "/scrape", 200},
		{"GET", "/", 404}, {"GET", "/announce/x", 404}, {"POST", "/announce", 405}, {"GET", "/file", 404},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.code {
			t.Errorf("%s %s: %d", tt.method, tt.path, w.Code)
		}
		if w.Code == 200 && w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
			t.Errorf("%s %s: length %s for %d bytes", tt.method, tt.path, w.Header().Get("Content-Length"), w.Body.Len())
		}
	}
}

func TestHTTPUnknownAddress(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	if got := (ask{hash: 1, id: 1, from: "@"}).body(t, s); got != "d14:failure reason36:address of the connection is unknowne" {
		t.Errorf("got %q", got)
	}
}

func TestLinkLocalZoneIsNotKept(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	ask{hash: 1, id: 1, left: 5, from: "[fe80::1%eth0]:1"}.do(t, s)
	ask{hash: 1, id: 2, left: 5, from: "[::ffff:10.0.0.2]:1"}.do(t, s)
	r := ask{hash: 1, id: 3, left: 5}.do(t, s)
	if got := addrs(r.Peers); !got["[fe80::1]:7000"] || !got["10.0.0.2:7000"] {
		t.Errorf("peers %v", got)
	}
}
