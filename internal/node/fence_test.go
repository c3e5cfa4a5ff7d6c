package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/outward"
	"distd/internal/zone"
	"distd/pkg/tracker"
)

func fenceOf(t *testing.T, nets ...string) *zone.Fence {
	t.Helper()
	p, err := zone.ParseNets(nets)
	if err != nil {
		t.Fatal(err)
	}
	return zone.New("dc1", p, nil)
}

func TestZoneWarnings(t *testing.T) {
	for _, c := range []struct {
		cfg  config.Config
		want []string // parts of one warning each
	}{
		{config.Config{PeerListen: "10.2.0.1:6881", Seed: []string{"http://10.2.0.2:6969"}}, nil},
		{config.Config{Zone: "dc1", PeerListen: "10.2.0.1:6881"}, nil},
		{config.Config{ZoneNet: []string{"10.1.0.0/16"}, PeerListen: "10.1.0.1:6881", Seed: []string{"http://10.1.0.2:6969"}}, nil},
		{config.Config{ZoneNet: []string{"10.1.0.0/16"}}, nil},
		{config.Config{ZoneNet: []string{"10.1.0.0/16"}, PeerListen: "127.0.0.1:6881"}, nil},
		{config.Config{ZoneNet: []string{"10.1.0.0/16"}, PeerListen: "10.2.0.1:6881", Seed: []string{"http://10.1.0.2:6969", "http://user:secret@10.2.0.2:6969", "http://[2001:db8::1]:6969"}},
			[]string{"no address of this node ([10.2.0.1])", "seed http://10.2.0.2:6969 ([10.2.0.2])", "seed http://[2001:db8::1]:6969 ([2001:db8::1])"}},
		{config.Config{ZoneNet: []string{"203.0.113.0/24"}, PeerListen: ":6881"}, hereOr(nil, "no address of this node")},
	} {
		got := ZoneWarnings(t.Context(), &c.cfg)
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && strings.HasPrefix(got[i], c.want[i]) && !strings.Contains(got[i], "secret")
		}
		if !ok {
			t.Errorf("%v %v %v: %q, want %q", c.cfg.ZoneNet, c.cfg.PeerListen, c.cfg.Seed, got, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := config.Config{ZoneNet: []string{"10.1.0.0/16"}, PeerListen: "10.1.0.1:1", Seed: []string{"http://no.such.name.invalid:1"}}
	if got := ZoneWarnings(ctx, &c); len(got) != 0 {
		t.Errorf("of a name that has no address: %q", got)
	}
}

// hereOr is what is warned of where this machine has addresses besides loopback.
func hereOr(none []string, some ...string) []string {
	for a := range localAddrs() {
		if !a.IsLoopback() {
			return some
		}
	}
	return none
}

// A node makes itself known to no tracker of another zone, also when that is what
// a name stands for or a tracker sends it to.
func TestAnnouncesStayInTheZone(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://127.2.0.1:1/announce", http.StatusFound)
		}
	}))
	t.Cleanup(server.Close)
	way, err := outward.New(outward.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	f := fenceOf(t, "127.0.0.0/16")
	inside := trackerClient("tcp", way, fencedDialer(f, nil), true)
	resp, err := inside.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp, err := inside.Get(server.URL + "/away"); err == nil {
		_ = resp.Body.Close()
		t.Error("a redirection out of the zone was followed")
	} else if !strings.Contains(err.Error(), "127.2.0.1 is outside of this node's zone: zone_net has [127.0.0.0/16]") {
		t.Error(err)
	}
	other := trackerClient("tcp", way, fencedDialer(fenceOf(t, "10.1.0.0/16", "127.9.0.0/16"), nil), true)
	if resp, err := other.Get("http://localhost:" + port); err == nil {
		_ = resp.Body.Close()
		t.Error("a tracker outside of the zone was asked")
	}
	if got := f.Counts(); got[keptOutSeed] != 1 {
		t.Errorf("%v", got)
	}
}

// What was kept out is told in the status and in the metrics, and a fetch counts
// no address of IPv6 that it does not use anyway.
func TestKeptOutIsShown(t *testing.T) {
	cfg := defaults(config.RoleSeed)
	cfg.Dir, cfg.Listen, cfg.PeerListen, cfg.Master = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", "http://127.0.0.1:9"
	cfg.Zone, cfg.ZoneNet = "dc1", []string{"127.0.0.0/16", "2001:db8:1::/48"}
	n, err := New(&cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	n.fence.KeptOut("pex", netip.MustParseAddrPort("127.2.0.1:6881"))
	w := httptest.NewRecorder()
	n.tracker.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/scrape?info_hash=01234567890123456789", nil)) // of 192.0.2.1
	if !strings.Contains(w.Body.String(), "outside the zone") {
		t.Errorf("the tracker answers %q", w.Body.String())
	}
	s := n.Status()
	if s.Zone != "dc1" || fmt.Sprint(s.ZoneNet) != "[127.0.0.0/16 2001:db8:1::/48]" || s.KeptOut["pex"] != 1 || s.KeptOut[tracker.KeptOutScrape] != 1 {
		t.Errorf("%q %v %v", s.Zone, s.ZoneNet, s.KeptOut)
	}
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			found = found || fam.GetName() == "distd_kept_out_total" && m.GetLabel()[0].GetValue() == "pex" && m.GetCounter().GetValue() == 1
		}
	}
	if !found {
		t.Error("no metric distd_kept_out_total of pex")
	}
	f := &fetch{o: FetchOptions{IPv4: true}, fence: fenceOf(t, "10.1.0.0/16", "2001:db8:1::/48")}
	for addr, allowed := range map[string]bool{"10.1.0.1": true, "10.2.0.1": false, "2001:db8:1::1": false, "2001:db8:2::1": false} {
		a := netip.MustParseAddr(addr)
		if f.allowPeer(a) != allowed {
			t.Errorf("%v: allowed is %v", a, !allowed)
		}
		if !allowed {
			f.keptOut("tracker", netip.AddrPortFrom(a, 1))
		}
	}
	if got := f.fence.Counts()["tracker"]; got != 2 {
		t.Errorf("%d were counted, want those outside of the networks: 2", got)
	}
}
