package httpfetch

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestCongestion: connections have the congestion control that was asked for, or
// the kernel's own where it is not offered, and work in either case. Which it
// is, is logged once.
func TestCongestion(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	own := ""
	for _, c := range []struct{ asked, want, level string }{
		{"default", "", "info"}, {"reno", "reno", "info"}, {"no-such-control", "", "warn"},
	} {
		core, logged := observer.New(zap.InfoLevel)
		client := NewClient(ClientConfig{Congestion: c.asked, Log: zap.New(core)})
		want := c.want
		for range 2 {
			k, err := client.dial(t.Context(), u, nil)
			if err != nil {
				t.Fatalf("%q: %v", c.asked, err)
			}
			raw, err := k.Conn.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			got, err := setCongestion(raw, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.asked == "default" {
				own = got
			}
			if want == "" {
				want = own
			}
			if got != want {
				t.Errorf("%q: the connection has %q, want %q", c.asked, got, want)
			}
			_ = k.Close()
		}
		all := logged.All()
		if len(all) != 1 || all[0].Level.String() != c.level || all[0].ContextMap()["used"] != want {
			t.Errorf("%q: logged %+v, want one line of level %s with %q", c.asked, all, c.level, want)
		}
		_ = client.Close()
	}
}
