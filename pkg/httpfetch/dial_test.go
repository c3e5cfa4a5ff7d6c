package httpfetch

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadFamilyIsNoDistance: that IPv6 of a host was waited for in vain does not
// make its IPv4 far away.
func TestDeadFamilyIsNoDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attempts{start: time.Now(), at: map[string]time.Time{}}
		a.note("[2001:db8::1]:443")
		time.Sleep(300 * time.Millisecond)
		a.note("192.0.2.1:443")
		time.Sleep(20 * time.Millisecond)
		for addr, want := range map[string]time.Duration{"192.0.2.1:443": 20 * time.Millisecond, "[2001:db8::1]:443": 320 * time.Millisecond, "192.0.2.2:443": 320 * time.Millisecond} {
			if got := a.since(addr); got != want {
				t.Errorf("%s: %v, want %v", addr, got, want)
			}
		}
	})
}

// TestIPv6Mirror downloads from an address in brackets.
func TestIPv6Mirror(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	s := single(t, 1<<20, 64<<10)
	host := make(chan string, 100)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host <- r.Host
		serveFile(w, r, s)
	}))
	srv.Listener = ln
	srv.Start()
	defer srv.Close()
	f, err := New(Config{Sink: s, Mirrors: []Mirror{{URL: "http://" + ln.Addr().String() + "/data.bin"}}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, f, time.Minute)
	s.check()
	if got := <-host; got != ln.Addr().String() {
		t.Errorf("the Host is %q", got)
	}
}
