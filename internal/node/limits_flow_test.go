package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"distd/internal/config"
)

// site publishes a file of so many bytes on a master, and returns its path.
func site(t *testing.T, master *Node, size int) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "site.bin")
	if err := os.WriteFile(src, bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Publish(t.Context(), PublishRequest{Path: src, Channel: "web"}, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	return src
}

// waitLive waits until the node's one channel has a live release.
func waitLive(t *testing.T, n *Node) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if s := n.Status(); len(s.Channels) == 1 && s.Channels[0].Live != "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing is live after a minute: %+v", n.Status())
		}
	}
}

// TestLimitsCountWhatFlows: all bytes from a master to a leaf that is its peer,
// and to a seed that takes it as a mirror, go through the limits of node and
// channel at both ends, and only a mirror's through the one of the long link.
func TestLimitsCountWhatFlows(t *testing.T) {
	const size = 3<<20 + 17
	wide := config.Always(250 << 20)
	start := func(role, upstream string) *Node {
		cfg := defaults(role)
		cfg.Up, cfg.Down, cfg.WANDown = wide, wide, wide
		cfg.ChannelUp, cfg.ChannelDown = []string{"web=180MiB"}, []string{"web=180MiB"}
		switch role {
		case config.RoleLeaf:
			cfg.Seed = []string{upstream}
		case config.RoleSeed:
			cfg.Master = upstream
		}
		if role != config.RoleLeaf {
			cfg.Listen = "127.0.0.1:0"
		}
		return runNode(t, cfg)
	}
	master := start(config.RoleMaster, "")
	at := "http://" + master.http.Addr().String()
	leaf := start(config.RoleLeaf, at)
	site(t, master, size)
	waitLive(t, leaf)
	sent := master.limits.node.up.Taken()
	seed := start(config.RoleSeed, at)
	waitLive(t, seed)
	for name, n := range map[string]int64{
		"the master's to the leaf": sent,
		"the master's to the seed": master.limits.node.up.Taken() - sent,
		"the master's channel's":   master.limits.channel("web").up.Taken() / 2,
		"the leaf's":               leaf.limits.node.down.Taken(),
		"the leaf's channel's":     leaf.limits.channel("web").down.Taken(),
		"the seed's":               seed.limits.node.down.Taken(),
		"the seed's channel's":     seed.limits.channel("web").down.Taken(),
		"the seed's long link's":   seed.limits.wan.Taken(),
	} {
		if n < size {
			t.Errorf("%s limit let %d bytes through, of %d", name, n, size)
		}
	}
	for name, n := range map[string]int64{
		"the master receives":  master.limits.node.down.Taken() + master.limits.channel("web").down.Taken(),
		"the leaf's long link": leaf.limits.wan.Taken(),
	} {
		if n > 0 {
			t.Errorf("%s: %d bytes counted", name, n)
		}
	}
}
