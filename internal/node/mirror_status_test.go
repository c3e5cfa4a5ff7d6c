package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"distd/internal/config"
	"distd/pkg/httpfetch"
)

func TestMergeMirrors(t *testing.T) {
	a := Mirror{URL: "a", Bytes: 10, Wasted: 1, Requests: 2, Errors: 3, BadPieces: 4, State: "failing", Problem: "gone"}
	b := Mirror{URL: "a", Tier: 1, Bytes: 5, State: "ready"}
	again := Mirror{URL: "a", Bytes: 100, Requests: 20, State: "ready"}
	first := []Mirror{a, b}
	got := merge(first, []Mirror{again, {URL: "c"}})
	want := []Mirror{{URL: "a", Bytes: 110, Wasted: 1, Requests: 22, Errors: 3, BadPieces: 4, State: "ready"}, b, {URL: "c"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff([]Mirror{a, b}, first); d != "" {
		t.Errorf("what was added to has changed:\n%s", d)
	}
}

// TestPathsAreBounded: locations beyond a number are counted together, and
// nothing is lost.
func TestPathsAreBounded(t *testing.T) {
	s := sums{}
	for i := range 3 * maxPaths {
		s.add(httpfetch.Stats{Mirrors: []httpfetch.MirrorStats{{Location: fmt.Sprint(i), Bytes: 2, Wasted: 1}}})
	}
	total := int64(0)
	for _, p := range s {
		total += p.Bytes
	}
	if other := s[pathKey{0, otherLocation}]; len(s) != maxPaths+1 || total != 6*maxPaths || other.Bytes != 4*maxPaths || other.Wasted != 2*maxPaths || other.Location != otherLocation {
		t.Errorf("%d paths with %d bytes, %+v together", len(s), total, other)
	}
}

// TestMirrorsInStatusAndMetrics: of a mirror that sends bad bytes and the
// upstream, which stands in for it, status and metrics have what each of them
// gave, without a password, and stay so when the release is not fetched any more.
func TestMirrorsInStatusAndMetrics(t *testing.T) {
	const size = 1<<20 + 3
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.Repeat([]byte("x"), size)))
	}))
	t.Cleanup(bad.Close)
	cfg := defaults(config.RoleMaster)
	cfg.Listen, cfg.Up = "127.0.0.1:0", config.Always(1<<20) // slow enough for the other mirror to be asked
	place := bad.URL + "/site.bin?token=secret"
	cfg.Mirror = []string{"external 100 " + place, "internal 10 " + place}
	master := runNode(t, cfg)
	site(t, master, size)
	cfg = defaults(config.RoleSeed)
	cfg.Master, cfg.Listen = "http://"+master.http.Addr().String(), "127.0.0.1:0"
	seed := runNode(t, cfg)
	waitLive(t, seed)
	s := seed.Status()
	byLocation := map[string]Mirror{}
	for _, m := range s.Releases[0].Mirrors {
		byLocation[m.Location] = m
	}
	up, out, in := byLocation[config.Upstream], byLocation["external"], byLocation["internal"]
	if up.Bytes < size || up.Requests == 0 || !up.Good() || !up.Trusted() || up.Problem != "" {
		t.Errorf("the upstream: %+v", up)
	}
	if out.BadPieces == 0 || out.Good() || out.Trusted() || out.RetryAt.IsZero() || out.Wasted == 0 || !strings.Contains(out.Problem, "did not verify") {
		t.Errorf("the bad mirror: %+v", out)
	}
	if in.State != "standby" || in.Bytes > 0 || in.Tier != 90 || !in.Good() {
		t.Errorf("the mirror in reserve: %+v", in)
	}
	paths := []PathStatus{{0, "external", out.Bytes, out.Wasted}, {0, config.Upstream, up.Bytes, up.Wasted}, {90, "internal", 0, 0}}
	if d := cmp.Diff(paths, s.Paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	if text, err := json.Marshal(s); err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("the status has the password: %s, %v", text, err)
	}
	checkSeries(t, series(t, seed), up, out)
	nextRelease(t, master, seed, bad.URL)
	got := series(t, seed)
	_, old := got["distd_mirror_bytes_total internal site.bin 90"]
	_, live := got["distd_mirror_bytes_total here site.bin 0"]
	if old || !live || got["distd_path_bytes_total external 0"] != out.Bytes {
		t.Errorf("after the next release there are %v", got)
	}
}

// checkSeries holds the metrics against the status of the upstream and of a bad
// mirror.
func checkSeries(t *testing.T, got map[string]int64, up, out Mirror) {
	t.Helper()
	for name, want := range map[string]int64{
		"distd_path_bytes_total external 0":                   out.Bytes,
		"distd_path_bytes_total upstream 0":                   up.Bytes,
		"distd_path_wasted_bytes_total external 0":            out.Wasted,
		"distd_mirror_bytes_total external site.bin 0":        out.Bytes,
		"distd_mirror_wasted_bytes_total external site.bin 0": out.Wasted,
		"distd_mirror_requests_total upstream site.bin 0":     up.Requests,
		"distd_mirror_errors_total external site.bin 0":       out.Errors,
		"distd_mirror_bad_pieces_total external site.bin 0":   out.BadPieces,
		"distd_mirror_good upstream site.bin 0":               1,
		"distd_mirror_good external site.bin 0":               int64(flag(out.Good())),
		"distd_mirror_good internal site.bin 90":              1,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %d (there: %v), want %d", name, v, there, want)
		}
	}
}

// nextRelease publishes another release, with a mirror at a location of its own,
// and waits until it is live on the seed.
func nextRelease(t *testing.T, master, seed *Node, mirror string) {
	t.Helper()
	src := filepath.Join(t.TempDir(), "site.bin")
	if err := os.WriteFile(src, bytes.Repeat([]byte("y"), 100), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Publish(t.Context(), PublishRequest{Path: src, Channel: "web", Mirrors: []string{"here 100 " + mirror}}, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if c := seed.Status().Channels[0]; c.Serial == 2 && c.Live == c.Newest {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the second release is not live after a minute: %+v", seed.Status())
		}
	}
}

// series are a node's metrics of mirrors, by name, location, release and tier.
func series(t *testing.T, n *Node) map[string]int64 {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "distd_mirror_") && !strings.HasPrefix(f.GetName(), "distd_path_") {
			continue
		}
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "location", "name", "tier":
					key += " " + l.GetValue()
				}
			}
			out[key] = int64(m.GetCounter().GetValue() + m.GetGauge().GetValue())
		}
	}
	return out
}
