package tracker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseResponse(t *testing.T) {
	for in, want := range map[string]*Response{
		"d8:completei1e10:incompletei2e8:intervali9e12:min intervali3e5:peers12:\x0a\x00\x00\x01\x1a\xe1\x0a\x00\x00\x02\x00\x006:peers618:\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x41\x42e": {
			Interval: 9 * time.Second, MinInterval: 3 * time.Second, Seeds: 1, Leeches: 2,
			Peers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:6881"), netip.MustParseAddrPort("[fd00::3]:16706")},
		},
		"d8:intervali9e5:peersld2:ip8:10.0.0.17:peer id3:xxx4:porti80eed2:ip4:evil4:porti80eed4:porti80eei5ed2:ip7:fd00::34:porti65536eed2:ip7:fd00::34:porti1eeee": {
			Interval: 9 * time.Second,
			Peers:    []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("[fd00::3]:1")},
		},
		"d8:intervali-9e3:newld1:xleee5:peers5:short10:tracker id3:abc15:warning message4:slowe": {Warning: "slow", trackerID: "abc"},
		"d8:intervali99999999999999999999ee":                                                     {Interval: maxWaitSeconds * time.Second},
		"d5:peers12:\xe0\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01e":                           {}, // multicast, unspecified
	} {
		got, err := parseResponse([]byte(in))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
}

func TestParseResponseRefuses(t *testing.T) {
	for in, want := range map[string]*FailureError{
		"d14:failure reason4:nope8:retry ini7ee":                     {Reason: "nope", RetryIn: 7 * time.Minute},
		"d14:failure reason5:n\x00pe\n8:retry in5:nevere":            {Reason: `n\x00pe\n`, Never: true},
		"d14:failure reason4:nope5:peers6:\x0a\x00\x00\x01\x00\x01e": {Reason: "nope"},
		"d14:failure reason4:nope8:retry ini99999999999999999ee":     {Reason: "nope", RetryIn: 24 * time.Hour},
	} {
		_, err := parseResponse([]byte(in))
		var got *FailureError
		if !errors.As(err, &got) || *got != *want {
			t.Errorf("%q: %+v", in, err)
		}
	}
	for _, in := range []string{"", "x", "i5e", "le", "d", "d1:xe", "d1:x1:y", "d8:intervali9e", "<html>sorry</html>", "d999999999:x",
		"d1:x" + strings.Repeat("l", 1000) + strings.Repeat("e", 1000) + "e", "d1:xi" + strings.Repeat("9", 100) + "ee"} {
		if _, err := parseResponse([]byte(in)); !errors.Is(err, errBencode) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

func TestHTTPClientAgainstServer(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	var query atomic.Value
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query.Store(r.URL.RawQuery)
		s.ServeHTTP(w, r)
	}))
	defer ts.Close()
	id := [20]byte{0: '&', 1: '%', 2: '+', 3: ' ', 4: 0xff, 5: '='}
	for i := range 2 {
		peer := id
		peer[19] = byte(i)
		r, err := Announce(t.Context(), ts.Client(), ts.URL+"/announce?passkey=a%20b", Request{
			InfoHash: id, PeerID: peer, Port: uint16(7000 + i), Event: EventStarted, Stats: Stats{Left: -1}, NumWant: -1, Key: 0xabc})
		if err != nil || len(r.Peers) != i {
			t.Fatalf("%+v %v", r, err)
		}
		if i == 1 && r.Peers[0].String() != "127.0.0.1:7000" {
			t.Errorf("peers %v", r.Peers)
		}
	}
	if q := query.Load().(string); !strings.HasPrefix(q, "passkey=a%20b&info_hash=%26%25%2B%20%FF%3D%00") || !strings.HasSuffix(q, "&key=abc&event=started") {
		t.Errorf("query %s", q)
	}
}

func TestHTTPClientRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, "longer than"},
		"bomb": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "999999999999")
			_, _ = w.Write([]byte("d"))
		}, "read answer"},
		"status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "HTTP status 500 Internal Server Error"},
		"html":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "not valid bencode"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, "d14:failure reason2:noe")
		}, "tracker refused: no"},
	} {
		ts := httptest.NewServer(tt.handle)
		_, err := Announce(t.Context(), ts.Client(), ts.URL+"/announce", Request{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), ts.URL) || strings.Contains(err.Error(), "info_hash") {
			t.Errorf("%s: %v", name, err)
		}
		ts.Close()
	}
}

func TestStatusErrorHasRetryAfter(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(503)
	}))
	defer ts.Close()
	_, err := Announce(t.Context(), ts.Client(), ts.URL+"/announce", Request{})
	var se *statusError
	if !errors.As(err, &se) || se.retryIn != 17*time.Second {
		t.Errorf("%v", err)
	}
}

func TestAnnounceURLs(t *testing.T) {
	for _, u := range []string{"", "x", "ftp://a/b", "udp://a", "http://", "http://%zz/", "udp:a:1"} {
		if _, err := Announce(t.Context(), nil, u, Request{}); err == nil {
			t.Errorf("%q is accepted", u)
		}
	}
}

// lossy answers UDP packets with what answer returns, in the manner of a
// tracker, and counts them.
func lossy(t *testing.T, answer func(n int, in []byte) [][]byte) *url.URL {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for i := 0; ; i++ {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, out := range answer(i, bytes.Clone(buf[:n])) {
				_, _ = pc.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return &url.URL{Scheme: "udp", Host: pc.LocalAddr().String(), Path: "/secret/path"}
}

func TestUDPClientRetransmits(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	var path atomic.Bool
	u := lossy(t, func(n int, in []byte) [][]byte {
		if n == 0 || n == 2 { // the first connect and the first announce are lost
			return nil
		}
		path.Store(bytes.HasSuffix(in, []byte("\x02\x0c/secret/path")))
		wrong := s.testUDP(in, "127.0.0.1:1")
		wrong = append([]byte(nil), wrong...)
		wrong[5] ^= 0xff // an answer to another question comes first
		return [][]byte{{1, 2, 3}, wrong, s.testUDP(in, "127.0.0.1:1")}
	})
	short := []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 10 * time.Second}
	r, err := announceOnce(t.Context(), nil, u, &Request{Port: 7000, Stats: Stats{Left: -1}, Event: EventStarted}, short)
	if err != nil || r.Leeches != 1 || r.Interval < 2*time.Second {
		t.Fatalf("%+v %v", r, err)
	}
	if !path.Load() {
		t.Error("the path is not sent")
	}
}

func TestUDPClientGivesUp(t *testing.T) {
	u := lossy(t, func(int, []byte) [][]byte { return nil })
	start := time.Now()
	_, err := announceOnce(t.Context(), nil, u, &Request{}, []time.Duration{20 * time.Millisecond, 30 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no answer") || time.Since(start) < 50*time.Millisecond {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(nil) })
	if _, err = announceOnce(ctx, nil, u, &Request{}, udpSchedule); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestUDPClientRefuses(t *testing.T) {
	header := func(in []byte, action uint32, body string) [][]byte {
		b := binary.BigEndian.AppendUint32(nil, action)
		return [][]byte{append(append(b, in[12:16]...), body...)}
	}
	for want, answer := range map[string]func(n int, in []byte) [][]byte{
		"tracker refused: no": func(_ int, in []byte) [][]byte { return header(in, udpError, "no") },
		"of kind 2":           func(_ int, in []byte) [][]byte { return header(in, udpScrape, "") },
		"id is cut short":     func(_ int, in []byte) [][]byte { return header(in, udpConnect, "123") },
		"answer is cut short": func(n int, in []byte) [][]byte { return header(in, uint32(n), "12345678") },
	} {
		_, err := announceOnce(t.Context(), nil, lossy(t, answer), &Request{}, udpSchedule)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("d8:completei1e10:incompletei2e8:intervali9e12:min intervali3e5:peers12:\x0a\x00\x00\x01\x1a\xe1\x0a\x00\x00\x02\x00\x006:peers618:\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x41\x42e"))
	f.Add([]byte("d8:intervali9e5:peersld2:ip8:10.0.0.17:peer id3:xxx4:porti80eed2:ip4:evil4:porti80eei5eee"))
	f.Add([]byte("d14:failure reason4:nope8:retry in5:nevere"))
	f.Add([]byte("d5:peersd1:xllleeeee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseResponse(b)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if r != nil {
			checkResponse(t, r, len(b))
		}
	})
}

func checkResponse(t *testing.T, r *Response, n int) {
	if r.Interval < 0 || r.Interval > 24*time.Hour || r.MinInterval < 0 || r.MinInterval > 24*time.Hour || len(r.Peers) > n/6 {
		t.Fatalf("%+v from %d bytes", r, n)
	}
	for _, p := range r.Peers {
		if !p.IsValid() || p.Port() == 0 || p.Addr().Zone() != "" || p.Addr().Is4In6() {
			t.Fatalf("peer %v", p)
		}
	}
}

func FuzzCompactPeers(f *testing.F) {
	f.Add([]byte("\x0a\x00\x00\x01\x1a\xe1\x0a\x00\x00\x02\x00\x00"), true)
	f.Add([]byte("\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x41\x42x"), false)
	f.Fuzz(func(t *testing.T, b []byte, is4 bool) {
		size := 16
		if is4 {
			size = 4
		}
		peers := appendCompact(nil, b, size)
		checkResponse(t, &Response{Peers: peers}, len(b))
		// Written as the server writes them, they are the same again.
		var out []byte
		for _, p := range peers {
			k := makeKey(p.Addr(), p.Port())
			out = k.appendCompact(out)
		}
		if is4 {
			if again := appendCompact(nil, out, 4); fmt.Sprint(again) != fmt.Sprint(peers) {
				t.Fatalf("%v became %v", peers, again)
			}
		}
	})
}

func FuzzUDPResponse(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01TRAN\x00\x00\x00\x05\x00\x00\x00\x04\x00\x00\x00\x01\x0a\x00\x00\x01\x1a\xe1"), true)
	f.Add([]byte("\x00\x00\x00\x03TRANno"), false)
	f.Fuzz(func(t *testing.T, b []byte, is4 bool) {
		answer, ours, err := checkUDPAnswer(b, udpAnnounce, binary.BigEndian.Uint32([]byte("TRAN")))
		if !ours || err != nil {
			return
		}
		if r, err := parseUDPResponse(answer, is4); err == nil {
			checkResponse(t, r, len(b))
		}
	})
}

func TestTooManyPeersAreCut(t *testing.T) {
	b := make([]byte, 6*(maxPeersTaken+100))
	for i := range b {
		b[i] = byte(1 + rand.IntN(100))
	}
	if n := len(appendCompact(nil, b, 4)); n != maxPeersTaken {
		t.Errorf("%d peers", n)
	}
}
