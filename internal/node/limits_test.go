package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"distd/internal/config"
)

// runNode runs a node of the configuration until the test ends.
func runNode(t *testing.T, cfg config.Config) *Node {
	t.Helper()
	cfg.Dir, cfg.PeerListen = t.TempDir(), "127.0.0.1:0"
	n, err := New(&cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	return n
}

func defaults(role string) config.Config {
	cfg := config.Default()
	cfg.Role = role
	return cfg
}

func table(t *testing.T, text string) *config.Timetable {
	t.Helper()
	table, err := config.ParseTimetable(text)
	if err != nil {
		t.Fatal(err)
	}
	return &table
}

// TestLimitByTheOperator: rates change over the control socket, show in status
// and metrics, and are the configuration's again after a reload.
func TestLimitByTheOperator(t *testing.T) {
	cfg := defaults(config.RoleMaster)
	cfg.Listen, cfg.Up, cfg.ChannelDown, cfg.DSCP = "127.0.0.1:0", config.Always(10<<20), []string{"web=2MiB"}, "ef"
	n := runNode(t, cfg)
	c, err := DialControl(n.store.Dir())
	if err != nil {
		t.Fatal(err)
	}
	configured := Limits{Up: 10 << 20, Channels: []ChannelLimits{{"web", 0, 2 << 20}}, MaxPeers: 500, MaxPeersPerRelease: 300, DSCP: "ef"}
	changed := configured
	changed.Up, changed.Down, changed.WANDown, changed.Channels = 0, 3<<20, 4<<20, []ChannelLimits{{"web", 1 << 20, 2 << 20}}
	for i, step := range []struct {
		req  LimitRequest
		want Limits
	}{
		{LimitRequest{}, configured},
		{LimitRequest{Channel: "web", Up: table(t, "1MiB")}, Limits{Up: 10 << 20, Channels: changed.Channels, MaxPeers: 500, MaxPeersPerRelease: 300, DSCP: "ef"}},
		{LimitRequest{Up: table(t, "off"), Down: table(t, "3MiB"), WANDown: table(t, "4MiB")}, changed},
	} {
		got, err := c.Limit(t.Context(), step.req)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(step.want, *got); d != "" {
			t.Errorf("step %d (-want +got):\n%s", i, d)
		}
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(changed, s.Limits); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	shown := limitGauges(t, n)
	if !shown[4<<20] || !shown[3<<20] || !shown[2<<20] || !shown[1<<20] || !shown[500] || !shown[300] {
		t.Errorf("the metrics do not show the limits: %v", shown)
	}
	if _, err := c.Limit(t.Context(), LimitRequest{Channel: "wbe", Up: table(t, "1MiB")}); err == nil || ExitCode(err) != ExUsage || !strings.Contains(err.Error(), `channel "wbe" is not here`) {
		t.Errorf("an unknown channel: %v", err)
	}
	if _, err := c.Limit(t.Context(), LimitRequest{Channel: "web", WANDown: table(t, "1MiB")}); err == nil || ExitCode(err) != ExUsage {
		t.Errorf("wan_down of a channel: %v", err)
	}
	next := *n.cfg.Load()
	next.PerRelease = 7
	if err := n.Reload(&next); err != nil {
		t.Fatal(err)
	}
	configured.MaxPeersPerRelease = 7
	if d := cmp.Diff(configured, n.Limits()); d != "" {
		t.Errorf("after a reload (-want +got):\n%s", d)
	}
}

// limitGauges are the values of the metrics of limits.
func limitGauges(t *testing.T, n *Node) map[float64]bool {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[float64]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			shown[m.GetGauge().GetValue()] = shown[m.GetGauge().GetValue()] || strings.HasPrefix(f.GetName(), "distd_limit_")
		}
	}
	return shown
}

// TestReloadTakesOver: what the documentation says a reload takes over, it does.
func TestReloadTakesOver(t *testing.T) {
	n := newNode(t)
	before := defaults(config.RoleLeaf)
	n.cfg.Store(&before)
	var err error
	if n.outward, err = newAccess(&before); err != nil {
		t.Fatal(err)
	}
	after := before
	after.HookTimeout, after.OnHookFailure, after.Keep, after.Expires, after.LogLevel = time.Second, "rollback", 9, time.Hour, "debug"
	after.Hook = filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(after.Hook, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	after.KeepAge, after.KeepBytes, after.MinFree = time.Hour, 1<<30, config.Reserve{Bytes: 1 << 20}
	after.Scrub, after.ScrubRate, after.ScrubRepair = time.Hour, 1<<20, true
	after.MaxPeers, after.PerRelease, after.DSCP, after.Reuse, after.Deltas = 3, 2, "le", "copy", 7
	after.Inline, after.MaxDelete, after.Spare = 1<<10, "7", false
	after.Up, after.Down, after.WANDown = config.Always(1<<20), config.Always(2<<20), config.Always(5<<20)
	after.ChannelUp, after.ChannelDown = []string{"web=3MiB"}, []string{"web=4MiB"}
	changed := config.Changed(&before, &after)
	for _, s := range config.Settings() {
		if s.Reload == "yes" && !slices.Contains(changed, s.Key) {
			t.Errorf("this test does not change %s", s.Key)
		}
	}
	if err := n.Reload(&after); err != nil {
		t.Fatal(err)
	}
	if left := config.Changed(n.cfg.Load(), &after); len(left) > 0 {
		t.Errorf("not taken over: %q", left)
	}
	want := Limits{Up: 1 << 20, Down: 2 << 20, WANDown: 5 << 20, Channels: []ChannelLimits{{"web", 3 << 20, 4 << 20}}, MaxPeers: 3, MaxPeersPerRelease: 2, DSCP: "le"}
	if d := cmp.Diff(want, n.Limits()); d != "" {
		t.Errorf("limits (-want +got):\n%s", d)
	}
	after.ChannelUp, after.ChannelDown = nil, nil
	if err := n.Reload(&after); err != nil || len(n.Limits().Channels) > 0 {
		t.Errorf("limits of channels that the configuration has no more: %+v, %v", n.Limits().Channels, err)
	}
}
