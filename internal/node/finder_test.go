package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"distd/internal/config"
)

// running is a node that a test starts and stops.
type running struct {
	*Node
	t     *testing.T
	cfg   config.Config
	end   context.CancelFunc
	ended chan error
}

func startNode(t *testing.T, cfg config.Config) *running {
	t.Helper()
	if cfg.Dir == config.Default().Dir {
		cfg.Dir = t.TempDir()
	}
	if cfg.PeerListen == "" {
		cfg.PeerListen = "127.0.0.1:0"
	}
	n, err := New(&cfg, "test", zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(filepath.Base(cfg.Dir)))
	if err != nil {
		t.Fatal(err)
	}
	cfg.PeerListen = n.peers.Addr().String() // the same after a restart
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, t: t, cfg: cfg, end: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- n.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	if r.end == nil {
		return
	}
	r.end()
	r.end = nil
	if err := <-r.ended; err != nil {
		r.t.Errorf("the node ended with %v", err)
	}
}

// has waits until the node's live content is text.
func (r *running) has(text string) {
	r.t.Helper()
	eventually(r.t, func() bool {
		b, err := os.ReadFile(filepath.Join(r.cfg.Dir, "site.txt"))
		return err == nil && string(b) == text
	})
}

// serverless is the configuration of a leaf that knows one node of the DHT and the
// publisher's key.
func serverless(master *Node, knows ...string) config.Config {
	cfg := defaults(config.RoleLeaf)
	cfg.Channel, cfg.Key, cfg.DHT = []string{"web"}, master.signing.Public().String(), knows
	return cfg
}

// TestLeavesWithoutServers: leaves follow a channel through the DHT alone. They do
// so while the seed is dead, after a restart with nothing but what they remember,
// and when all that they know is another leaf.
func TestLeavesWithoutServers(t *testing.T) {
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master := startNode(t, mc)
	publishFile(t, master.Node, "first")
	sc := defaults(config.RoleSeed)
	sc.Master, sc.Listen = "http://"+master.http.Addr().String(), "127.0.0.1:0"
	seed := startNode(t, sc)
	seed.has("first")
	var leaves []*running
	for range 3 {
		leaves = append(leaves, startNode(t, serverless(master.Node, seed.cfg.PeerListen)))
	}
	for _, l := range leaves {
		l.has("first")
	}
	eventually(t, func() bool { leaves[0].finder.noteNow(); return len(leaves[0].finder.book.Peers("web", 10)) > 0 })
	leaves[0].stop() // it does not hear of the next release
	publishFile(t, master.Node, "second")
	for _, l := range leaves[1:] {
		l.has("second")
	}
	for _, l := range leaves[1:] {
		eventually(t, func() bool { l.finder.noteNow(); return len(l.finder.book.Peers("web", 10)) > 0 })
	}

	// The seed dies, and all leaves restart.
	seed.stop()
	for _, l := range leaves {
		l.stop()
	}
	for i, l := range leaves {
		cfg := l.cfg
		cfg.DHT = nil // nothing but what was remembered
		leaves[i] = startNode(t, cfg)
	}
	leaves[0].has("second")
	late := startNode(t, serverless(master.Node, leaves[1].cfg.PeerListen))
	late.has("second")
	if s := late.Status(); !s.Ready {
		t.Errorf("a leaf that has the newest release is not ready: %s", s.Problem)
	}

	// The seed comes back with a newer release.
	publishFile(t, master.Node, "third")
	startNode(t, seed.cfg)
	for _, l := range append(leaves, late) {
		l.has("third")
	}
}

// TestHeardOfOnce: the DHT tells of a release once. What keeps a leaf from taking it
// up at that moment may pass.
func TestHeardOfOnce(t *testing.T) {
	master := startNode(t, defaults(config.RoleMaster))
	publishFile(t, master.Node, "first")
	leaf := startNode(t, serverless(master.Node, master.cfg.PeerListen))
	leaf.has("first")
	own := filepath.Join(leaf.cfg.Dir, ".distd")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(own, from), filepath.Join(own, to)); err != nil {
			t.Fatal(err)
		}
	}
	refused := leaf.counters.refused.Load()
	move("tmp", "away") // nothing can be staged
	publishFile(t, master.Node, "second")
	eventually(t, func() bool { return leaf.counters.refused.Load() > refused })
	move("away", "tmp")
	leaf.has("second")
}
