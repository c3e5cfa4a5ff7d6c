package node

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/config"
	"distd/internal/manifest"
)

// member runs a node in a folder until stop or the end of the test.
func member(t *testing.T, dir string, cfg config.Config) (n *Node, logs *observer.ObservedLogs, stop func()) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	cfg.Dir, cfg.Listen, cfg.PeerListen = dir, "127.0.0.1:0", "127.0.0.1:0"
	n, err := New(&cfg, "test", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return n, logs, stop
}

func urlOf(n *Node) string { return "http://" + n.http.Addr().String() }

// liveIs says whether what is live in a node's folder is that.
func liveIs(dir, name string, data []byte) func() bool {
	return func() bool {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return err == nil && bytes.Equal(b, data)
	}
}

func noise(seed uint64, n int) []byte {
	r, b := rand.New(rand.NewPCG(seed, 1)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestPackThatNoSeedHas: a leaf whose base its seed does not have is told that no
// pack from it will come, while the seed is still fetching the release, and takes
// pieces; that is no failure.
func TestPackThatNoSeedHas(t *testing.T) {
	master, _, _ := member(t, t.TempDir(), defaults(config.RoleMaster))
	site := filepath.Join(t.TempDir(), "site.bin")
	publish := func(data []byte) string {
		t.Helper()
		if err := os.WriteFile(site, data, 0o644); err != nil {
			t.Fatal(err)
		}
		res, err := master.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res.ID
	}
	sc := defaults(config.RoleSeed)
	sc.Master = urlOf(master)
	lc := defaults(config.RoleLeaf)
	data := noise(1, 1<<20)
	publish(data)
	first, _, stopFirst := member(t, t.TempDir(), sc)
	dir := t.TempDir()
	lc.Seed = []string{urlOf(first)}
	_, _, stopLeaf := member(t, dir, lc)
	eventually(t, liveIs(dir, "site.bin", data))
	stopLeaf()
	stopFirst()

	data = append(bytes.Clone(data), noise(2, 10_000)...)
	id := publish(data)
	if rel, err := master.store.Release(id); err != nil || len(rel.Manifest.Deltas) != 1 {
		t.Fatalf("no pack was made: %v", err)
	}
	sc.WANDown = config.Always(512 << 10)
	seed, _, _ := member(t, t.TempDir(), sc)
	eventually(t, func() bool { return len(seed.store.Releases()) == 1 })
	lc.Seed = []string{urlOf(seed)}
	leaf, logs, _ := member(t, dir, lc)
	eventually(t, liveIs(dir, "site.bin", data))
	if logs.FilterMessageSnippet("no delta pack from this base").Len() != 1 || logs.FilterMessageSnippet("did not do").Len() > 0 {
		t.Errorf("the leaf says %v", logs.All())
	}
	if n := leaf.counters.badDeltas.Load(); n != 0 {
		t.Errorf("%d packs count as bad", n)
	}
}

// TestNoPack: a node says that a pack will not come only once it knows that.
func TestNoPack(t *testing.T) {
	k := newKeeper(newNode(t))
	j := &job{}
	if k.noPack("id", "base") {
		t.Error("of a release that is not fetched yet")
	}
	k.jobs["id"] = j
	if k.noPack("id", "base") {
		t.Error("while it is not decided")
	}
	j.packs = []*pack{{delta: &manifest.Delta{Base: "other"}}}
	j.packsKnown.Store(true)
	if !k.noPack("id", "base") || k.noPack("id", "other") {
		t.Error("once it is decided")
	}
}
