package serve

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// client speaks HTTP to a listener in memory.
func (p *pipes) client(t testing.TB, addr string) *http.Client {
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(t, addr), nil }}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// events opens an event stream; lines yields its lines until it ends.
func events(t *testing.T, c *http.Client, query string) (r *http.Response, lines *bufio.Scanner) {
	t.Helper()
	r, err := c.Get("http://host/v1/events" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Body.Close() })
	return r, bufio.NewScanner(r.Body)
}

// next reads lines up to an empty one.
func next(lines *bufio.Scanner) string {
	var out []string
	for lines.Scan() {
		if lines.Text() == "" {
			return strings.Join(out, "|")
		}
		out = append(out, lines.Text())
	}
	return "end"
}

func release(ch string, serial int) string {
	data := fmt.Sprintf(`{"channel":"%s","serial":%d}`, ch, serial)
	return fmt.Sprintf(`event: release|id: %s/%d|minisig: %s|data: %s`, ch, serial, base64.StdEncoding.EncodeToString([]byte("sig of "+data)), data)
}

// unsigned is the event of a pointer that is not in one line as it is stored.
func unsigned(ch string, serial int) string {
	return fmt.Sprintf(`event: release|id: %s/%d|data: {"channel":"%s","serial":%d}`, ch, serial, ch, serial)
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog()
		c.point("web", 7)
		c.point("bsd", 3)
		s := newServer(t, Config{Catalog: c})
		p := newPipes()
		stop := run(t, s, p)
		cl := p.client(t, "192.0.2.7:1")
		r, all := events(t, cl, "")
		if r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", r.Header)
		}
		_, web := events(t, cl, "?channel=web&channel=none")
		want := func(lines *bufio.Scanner, events ...string) {
			t.Helper()
			for _, e := range events {
				if got := next(lines); got != e {
					t.Fatalf("got %q, want %q", got, e)
				}
			}
		}
		want(all, "retry: 2000", release("bsd", 3), release("web", 7))
		want(web, "retry: 2000", release("web", 7))

		eight := c.point("web", 8)
		s.Announce("web", eight, []byte("sig of "+string(eight)))
		s.Announce("bsd", []byte("{\n \"channel\": \"bsd\",\n \"serial\": 4\n}\n"), []byte("sig"))
		synctest.Wait() // both are waiting, or taken: which is up to the scheduler
		want(web, release("web", 8))
		got := next(all) + "," + next(all)
		if got != release("web", 8)+","+unsigned("bsd", 4) && got != unsigned("bsd", 4)+","+release("web", 8) {
			t.Errorf("got %q", got)
		}
		s.Announce("web", []byte("not JSON"), nil)
		s.Announce("web", []byte(`{"channel":"web","serial":2}`), nil) // overtaken
		start := time.Now()
		want(web, ": ping", ": ping")
		want(all, ": ping", ": ping")
		if d := time.Since(start); d < 25*time.Second || d > 31*time.Second {
			t.Errorf("two pings within %v", d)
		}
		stop()
		want(web, "end")
		want(all, "end")
		if s.hub.limit.len() != 0 || len(s.hub.subs) != 0 {
			t.Errorf("%d listeners left", s.hub.limit.len())
		}
		cl.CloseIdleConnections()
	})
}

func TestEventsRefused(t *testing.T) {
	s := newServer(t, Config{Catalog: newCatalog()})
	for _, q := range []string{"?channel=../x", "?channel=", "?" + strings.Repeat("channel=a&", maxFilter+1)} {
		if r := ask(s, "GET", "/v1/events"+q); r.StatusCode != 400 {
			t.Errorf("%.40s: %d", q, r.StatusCode)
		}
	}
	if r := ask(s, "HEAD", "/v1/events"); r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %v", r.StatusCode, r.Header)
	}
	if _, err := channelFilter(url.Values{"channel": {"web"}}); err != nil {
		t.Error(err)
	}
}

func TestListenersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{Catalog: newCatalog(), MaxListeners: 3, MaxConnsPerAddr: 2})
		p := newPipes()
		stop := run(t, s, p)
		// HTTP/1 has one stream a connection, so connections of one address are
		// bounded first; a proxy on this host is not.
		for i, want := range []int{200, 200, 200, 503} {
			cl := p.client(t, fmt.Sprintf("127.0.0.1:%d", i+1))
			r, lines := events(t, cl, "")
			if r.StatusCode != want || want == 503 && r.Header.Get("Retry-After") == "" {
				t.Errorf("listener %d: %d", i, r.StatusCode)
			}
			if want == 200 {
				next(lines)
			}
		}
		stop()
	})
	h := newHub(10, 2)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	first := h.join(a, nil)
	if first == nil || h.join(a, nil) == nil || h.join(a, nil) != nil || h.join(b, nil) == nil {
		t.Error("listeners of an address are not bounded to 2")
	}
	h.leave(first)
	if h.join(a, nil) == nil {
		t.Error("a place was not given free")
	}
}

// TestSlowListenerIsDropped has a listener that never reads: announcing does
// not wait for it, and it is dropped when its write stalls.
func TestSlowListenerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog()
		s := newServer(t, Config{Catalog: c, WriteStall: 20 * time.Second})
		p := newPipes()
		stop := run(t, s, p)
		conn := p.dial(t, "192.0.2.1:1")
		if _, err := io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		for i := range 1000 {
			s.Announce("web", c.point("web", i+1), nil)
		}
		if time.Since(start) != 0 {
			t.Errorf("announcing took %v", time.Since(start))
		}
		time.Sleep(19 * time.Second)
		if s.hub.limit.len() != 1 {
			t.Error("dropped too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.hub.limit.len() != 0 || s.conns.len() != 0 {
			t.Errorf("%d listeners, %d connections left", s.hub.limit.len(), s.conns.len())
		}
		_ = conn.Close()
		stop()
	})
}

func TestNewestEventWins(t *testing.T) {
	h := newHub(10, 10)
	sub := h.join(netip.Addr{}, nil)
	for _, serial := range []uint64{5, 7, 6} {
		h.announce(event{channel: "web", serial: serial})
	}
	if got := sub.take(); len(got) != 1 || got[0].serial != 7 {
		t.Errorf("got %v", got)
	}
	h.announce(event{channel: "web", serial: 6})
	if got := sub.take(); len(got) != 0 {
		t.Errorf("an older event after a newer one: %v", got)
	}
	h.announce(event{channel: "web", serial: 7}) // signed anew
	if got := sub.take(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
