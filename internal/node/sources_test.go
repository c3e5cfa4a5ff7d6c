package node

import (
	"net"
	"testing"
	"time"

	"distd/internal/config"
	"distd/pkg/tracker"
)

// TestSourcesAreTold: what the DHT refuses is in the status and the metrics, beside
// which sources live.
func TestSourcesAreTold(t *testing.T) {
	first := startNode(t, knowing(t))
	second := startNode(t, knowing(t, first.cfg.PeerListen))
	conn, err := net.Dial("udp", first.cfg.PeerListen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("d1:ad2:id3:abce")); err != nil {
		t.Fatal(err)
	}
	dht := func(n *running) (s SourceStatus) {
		for _, src := range n.Status().Sources {
			if src.Name == "dht" {
				s = src
			}
		}
		return s
	}
	eventually(t, func() bool {
		s := dht(first)
		return s.Alive && s.Refused["malformed"] == 1 && s.Received > 1 && s.Sent > 0 && dht(second).Alive
	})
	for series, least := range map[string]float64{
		"distd_source_alive dht": 1, "distd_dht_nodes": 1, "distd_source_refused_total malformed dht": 1,
		"distd_source_packets_total in dht": 2, "distd_source_packets_total out dht": 1,
	} {
		if got := sourceSeries(t, first)[series]; got < least {
			t.Errorf("%s is %v, want %v at least", series, got, least)
		}
	}
	if got, there := sourceSeries(t, first)["distd_hearsay_refused_total"]; !there || got != 0 {
		t.Errorf("distd_hearsay_refused_total is %v, %v", got, there)
	}
}

// knowing is the configuration of a leaf that knows nodes of the DHT and a key.
func knowing(t *testing.T, nodes ...string) config.Config {
	t.Helper()
	cfg := defaults(config.RoleLeaf)
	cfg.Channel, cfg.Key, cfg.DHT = []string{"web"}, "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", nodes
	return cfg
}

// sourceSeries are a node's metrics by name and the values of the labels.
func sourceSeries(t *testing.T, n *running) map[string]float64 {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// TestNewestAnswerOfATracker: whatever the order in which releases are asked about,
// the last answer says whether the tracker is there.
func TestNewestAnswerOfATracker(t *testing.T) {
	at := func(s int, err string) tracker.Status {
		return tracker.Status{URL: "http://t/announce", LastAnnounce: time.Unix(int64(s), 0), Error: err}
	}
	for name, answers := range map[string][]tracker.Status{
		"in order": {at(1, ""), at(2, "refused"), at(3, "gone")},
		"reversed": {at(3, "gone"), at(2, "refused"), at(1, "")},
		"mixed":    {at(2, ""), at(3, "gone"), at(1, "refused")},
	} {
		last := map[string]tracker.Status{}
		for _, a := range answers {
			newest(last, []tracker.Status{a})
		}
		if got := last["http://t/announce"].Error; got != "gone" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
