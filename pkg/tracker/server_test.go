package tracker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnnounceGivesTheOthers(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	s.Allow(testHash(1), "x")
	if r := (ask{hash: 1, id: 1, left: 5}).do(t, s); len(r.Peers) != 0 || r.Leeches != 1 {
		t.Errorf("first peer got %+v", r)
	}
	ask{hash: 1, id: 2, left: 5}.do(t, s)
	ask{hash: 1, id: 3, left: 0, from: "[fd00::3]:5"}.do(t, s)
	r := ask{hash: 1, id: 1, left: 5}.do(t, s)
	got := addrs(r.Peers)
	if len(got) != 2 || !got["10.0.0.2:7000"] || !got["[fd00::3]:7000"] {
		t.Errorf("peers %v", got)
	}
	if r.Seeds != 1 || r.Leeches != 2 {
		t.Errorf("seeds %d, leeches %d", r.Seeds, r.Leeches)
	}
}

func TestSeedIsGivenNoSeeds(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	s.AddPeer(testHash(1), Peer{ID: peerID(99), Addr: netip.MustParseAddrPort("10.9.9.9:6881")})
	ask{hash: 1, id: 1, left: 0}.do(t, s)
	ask{hash: 1, id: 2, left: 9}.do(t, s)
	r := ask{hash: 1, id: 3, left: 0}.do(t, s)
	if got := addrs(r.Peers); len(got) != 1 || !got["10.0.0.2:7000"] {
		t.Errorf("a seed got %v", got)
	}
	// The own peer as a leech is of use to a seed.
	s.AddPeer(testHash(1), Peer{ID: peerID(99), Addr: netip.MustParseAddrPort("10.9.9.9:6881"), Left: 1})
	r = ask{hash: 1, id: 3, left: 0}.do(t, s)
	if got := addrs(r.Peers); len(got) != 2 || !got["10.9.9.9:6881"] {
		t.Errorf("a seed got %v", got)
	}
	// aria2 with a magnet link says that nothing is left before it knows the size.
	id := [20]byte([]byte("A2-1-36-0-0123456789"))
	req := (ask{hash: 1, left: 0}).request()
	q := req.URL.Query()
	q.Set("peer_id", string(id[:]))
	req.URL.RawQuery = q.Encode()
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, req)
	r, err := parseResponse(answer.Body.Bytes())
	if got := addrs(r.Peers); err != nil || !got["10.0.0.1:7000"] || !got["10.0.0.2:7000"] || !got["10.9.9.9:6881"] {
		t.Errorf("aria2 that may have nothing got %v, %v", got, err)
	}
}

func TestAddressIsTheConnections(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	s.Allow(testHash(1), "x")
	for i, extra := range []string{"&ip=1.2.3.4", "&ipv6=fd00::9", "&ipv4=1.2.3.4:5", "&ip=%31.2.3.4"} {
		ask{hash: 1, id: i + 1, left: 5, extra: extra}.do(t, s)
	}
	r := ask{hash: 1, id: 200, left: 5}.request()
	r.Header.Set("X-Forwarded-For", "1.2.3.4")
	s.ServeHTTP(httptest.NewRecorder(), r)
	list := ask{hash: 1, id: 9, left: 5}.do(t, s).Peers
	if len(list) != 5 {
		t.Errorf("%d peers", len(list))
	}
	for _, p := range list {
		if !strings.HasPrefix(p.String(), "10.0.0.") || p.Port() != 7000 {
			t.Errorf("peer %v is listed", p)
		}
	}
}

func TestUnknownTorrent(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	const want = "d14:failure reason37:torrent is not served by this tracker8:retry ini1ee"
	if got := (ask{hash: 1, id: 1}).body(t, s); got != want {
		t.Errorf("got %q", got)
	}
	s.Allow(testHash(1), "x")
	ask{hash: 1, id: 1}.do(t, s)
	s.Forbid(testHash(1))
	if got := (ask{hash: 1, id: 1}).body(t, s); got != want {
		t.Errorf("after Forbid: %q", got)
	}
	if st := s.Stats(); st.Peers != 0 || st.Torrents != 0 || st.Refused != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestStoppedAndCompleted(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	s.Allow(testHash(1), "x")
	ask{hash: 1, id: 1, left: 5, extra: "&event=started"}.do(t, s)
	ask{hash: 1, id: 2, left: 5, extra: "&event=started"}.do(t, s)
	for range 2 { // a repeated announce is not a second download
		ask{hash: 1, id: 1, left: 0, extra: "&event=completed"}.do(t, s)
	}
	ask{hash: 1, id: 2, left: 5, extra: "&event=completed"}.do(t, s) // says so, but is not
	if st, _ := s.Torrent(testHash(1)); st.Completed != 1 || st.Seeds != 1 || st.Leeches != 1 {
		t.Errorf("%+v", st)
	}
	if r := (ask{hash: 1, id: 1, left: 0, extra: "&event=stopped"}).do(t, s); len(r.Peers) != 0 {
		t.Errorf("stopped peer got %v", r.Peers)
	}
	if st, _ := s.Torrent(testHash(1)); st.Completed != 1 || st.Seeds != 0 || st.Leeches != 1 {
		t.Errorf("%+v", st)
	}
	// aria2 that does not seed leaves without saying "completed".
	ask{hash: 1, id: 4, left: 5, extra: "&event=started"}.do(t, s)
	ask{hash: 1, id: 4, left: 0, extra: "&event=stopped"}.do(t, s)
	if st, _ := s.Torrent(testHash(1)); st.Completed != 2 || st.Leeches != 1 {
		t.Errorf("%+v", st)
	}
	// Nobody stops another: the address is what counts.
	ask{hash: 1, id: 2, from: "10.6.6.6:1", extra: "&event=stopped"}.do(t, s)
	if st, _ := s.Torrent(testHash(1)); st.Leeches != 1 || s.Stats().Peers != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSilentPeersExpire(t *testing.T) {
	s, clk := newTestServer(t, Config{Interval: time.Minute, MinInterval: time.Minute, Expiry: 5 * time.Minute})
	s.AddPeer(testHash(1), Peer{ID: peerID(99), Addr: netip.MustParseAddrPort("10.9.9.9:6881")})
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	clk.add(4 * time.Minute)
	ask{hash: 1, id: 2, left: 5}.do(t, s)
	s.sweep()
	if n := s.Stats().Peers; n != 2 {
		t.Fatalf("%d peers after 4 minutes", n)
	}
	clk.add(61 * time.Second)
	// Not even before the sweep is an expired peer given out.
	if r := (ask{hash: 1, id: 3, left: 5}).do(t, s); len(r.Peers) != 2 || addrs(r.Peers)["10.0.0.1:7000"] {
		t.Errorf("peers %v", r.Peers)
	}
	s.sweep()
	if st := s.Stats(); st.Peers != 2 || st.Expired != 1 {
		t.Errorf("%+v", st)
	}
	clk.add(time.Hour)
	s.sweep()
	if r := (ask{hash: 1, id: 4, left: 5}).do(t, s); len(r.Peers) != 1 || r.Seeds != 1 {
		t.Errorf("the own peer expired: %+v", r)
	}
}

func TestOwnPeer(t *testing.T) {
	s, _ := newTestServer(t, Config{MaxWant: 3})
	s.AddPeer(testHash(1), Peer{ID: peerID(99), Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 6881)})
	for i := range 20 {
		ask{hash: 1, id: i, left: 5}.do(t, s)
	}
	// Its address is the one that the request came in on.
	req := (ask{hash: 1, id: 1, left: 5}).request()
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 9, 9), Port: 80}
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, local)))
	r, err := parseResponse(answer.Body.Bytes())
	if err != nil || len(r.Peers) != 3 || r.Peers[0].String() != "10.0.9.9:6881" {
		t.Errorf("got %+v, %v", r, err)
	}
	// Its own announce, from whatever address, lists nothing and is not answered with itself.
	before := s.Stats().Peers
	r = ask{hash: 1, id: 99, from: "127.0.0.1:4", port: 6881}.do(t, s)
	if got := s.Stats().Peers; got != before || addrs(r.Peers)["127.0.0.1:6881"] {
		t.Errorf("own peer is listed twice: %d peers, got %v", got, r.Peers)
	}
	s.RemovePeer(testHash(1))
	if st, ok := s.Torrent(testHash(1)); !ok || st.Own || st.Seeds != 0 {
		t.Errorf("after RemovePeer: %+v %v", st, ok)
	}
}

func TestBounds(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true, MaxTorrents: 3, MaxPeersPerTorrent: 5, MaxPeers: 7})
	for i := range 10 {
		r := ask{hash: 1, id: i, left: 5}.do(t, s)
		if i > 5 && len(r.Peers) != 5 {
			t.Errorf("peer %d, not listed, got %d peers", i, len(r.Peers))
		}
	}
	for i := range 10 {
		ask{hash: 2, id: i, left: 5}.do(t, s)
	}
	if st := s.Stats(); st.Peers != 7 || st.Unlisted != 5+8 {
		t.Errorf("%+v", st)
	}
	ask{hash: 3, id: 1, left: 5}.do(t, s)
	if got := (ask{hash: 4, id: 1, left: 5}).body(t, s); !strings.Contains(got, "too many torrents") {
		t.Errorf("got %q", got)
	}
	s.sweep() // torrent 3 has no peers
	ask{hash: 4, id: 1, left: 5}.do(t, s)
	// Peers that are known stay so in a full swarm, and may become seeds.
	ask{hash: 1, id: 1, left: 0}.do(t, s)
	if st, _ := s.Torrent(testHash(1)); st.Seeds != 1 || st.Leeches != 4 {
		t.Errorf("%+v", st)
	}
}

func TestPortZeroIsNotListed(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	req := (ask{hash: 1, id: 2, left: 5}).request()
	req.URL.RawQuery = strings.Replace(req.URL.RawQuery, "port=7000", "port=0", 1)
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, req)
	if r, err := parseResponse(answer.Body.Bytes()); err != nil || len(r.Peers) != 1 || s.Stats().Peers != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{Interval: time.Millisecond},
		{Interval: time.Minute, MinInterval: time.Hour},
		{Interval: time.Hour, Expiry: time.Minute},
		{DefaultWant: 100, MaxWant: 50},
		{Interval: -time.Hour},
	} {
		if _, err := NewServer(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}

func TestRunSweepsAndSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := t.TempDir() + "/state"
		s, err := NewServer(Config{Open: true, Interval: time.Minute, Expiry: 3 * time.Minute, StateFile: file})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		ask{hash: 1, id: 1, left: 5}.do(t, s)
		time.Sleep(DefaultSaveInterval + time.Second)
		synctest.Wait()
		if n := stateTorrents(t, file); n != 1 {
			t.Errorf("%d torrents saved after the save interval", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := s.Stats(); st.Peers != 0 || st.Torrents != 0 {
			t.Errorf("not swept: %+v", st)
		}
		ask{hash: 2, id: 1, left: 5}.do(t, s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := stateTorrents(t, file); n != 1 {
			t.Errorf("%d torrents saved at the end", n)
		}
	})
}

func TestRunSaysThatStateIsLost(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true, StateFile: t.TempDir() + "/gone/state"})
	ask{hash: 1, id: 1, left: 5}.do(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("over"))
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "save state") {
		t.Errorf("got %v", err)
	}
}
