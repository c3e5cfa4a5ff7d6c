package serve

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/limit"
)

// TestContentIsPaced: content goes out at the channel's rate, and nothing else
// waits or counts.
func TestContentIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog()
		rel, data := c.iso(t, 1<<20)
		c.point("web", 7)
		var channel, node limit.Bucket
		channel.Set(256 << 10)
		node.Set(1 << 20)
		asked := ""
		s := newServer(t, Config{Catalog: c, Up: func(channelName string) Limiter { asked = channelName; return limit.All{&channel, &node} }})
		content := "/releases/" + rel.ID + "/content/" + escapedISO
		start := time.Now()
		for _, path := range []string{"/channels/web/latest.json", "/releases/" + rel.ID + "/manifest.json", "/healthz", "/" + escapedISO + ".torrent", content + ".missing"} {
			ask(s, "GET", path)
		}
		ask(s, "HEAD", content)
		if took := time.Since(start); took > 0 || channel.Taken()+node.Taken() > 0 {
			t.Errorf("what is no content waited for %v and counted %d bytes", took, channel.Taken())
		}
		if got := body(t, ask(s, "GET", content)); got != string(data) {
			t.Errorf("wrong content of %d bytes", len(got))
		}
		if took := time.Since(start); took < 3900*time.Millisecond || took > 4*time.Second {
			t.Errorf("1 MiB at 256 KiB/s took %v", took)
		}
		if channel.Taken() != 1<<20 || node.Taken() != 1<<20 || asked != "web" {
			t.Errorf("counted %d bytes for channel %q and %d for the node", channel.Taken(), asked, node.Taken())
		}
		if r := ask(s, "GET", "/"+escapedISO, "Range", "bytes=0-99999"); r.StatusCode != http.StatusPartialContent || channel.Taken() != 1<<20+100_000 {
			t.Errorf("status %d, counted %d bytes", r.StatusCode, channel.Taken()-1<<20)
		}
	})
}

// TestPacedClientLeaves: a response that waits ends with its client.
func TestPacedClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog()
		rel, _ := c.iso(t, 1<<20)
		var channel limit.Bucket
		channel.Set(16 << 10)
		s := newServer(t, Config{Catalog: c, Up: func(string) Limiter { return &channel }})
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/releases/"+rel.ID+"/content/"+escapedISO, nil)
		start := time.Now()
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		if took := time.Since(start); took != 3500*time.Millisecond || channel.Taken() != 64<<10 {
			t.Errorf("it ended after %v, with %d bytes counted", took, channel.Taken())
		}
	})
}

func TestAcceptedConnectionsAreTuned(t *testing.T) {
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	var tuned []net.Conn
	s := newServer(t, Config{Catalog: newCatalog(), Tune: func(c net.Conn) { tuned = append(tuned, c) }})
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := (&limitListener{Listener: ln, s: s}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if len(tuned) != 1 || tuned[0].RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("%d connections tuned", len(tuned))
	}
}
