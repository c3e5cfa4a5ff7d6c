package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// published is a release for tests: so many bytes of text in a channel.
type published struct{ channel, text string }

// many are so many small releases in a few channels.
func many(releases int) (list []published) {
	for i := range releases {
		list = append(list, published{fmt.Sprintf("channel%d", i%4), fmt.Sprintf("release %d", i)})
	}
	return list
}

// publishAll makes a folder with the releases.
func publishAll(t testing.TB, list []published) (dir string) {
	t.Helper()
	dir = t.TempDir()
	st, err := store.Open(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	key, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "source")
	for _, p := range list {
		if err := os.WriteFile(source, []byte(p.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := publish.Publish(context.Background(), st, key, publish.Options{Path: source, Channel: p.channel, Name: p.channel + ".txt"}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startIdle runs a node of the role on a copy of the folder, until stop or the
// end of the test, and returns once it seeds all that is there.
func startIdle(t testing.TB, role, dir, upstream string, change ...func(*config.Config)) (n *Node, stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Role, cfg.Dir, cfg.Keep, cfg.PeerListen = role, t.TempDir(), 1<<20, "127.0.0.1:0"
	if err := os.CopyFS(cfg.Dir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if role == config.RoleLeaf {
		cfg.Seed = []string{upstream}
	} else {
		cfg.Listen, cfg.Master = "127.0.0.1:0", upstream
	}
	for _, f := range change {
		f(&cfg)
	}
	n, err := New(&cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.announcing.CloseIdleConnections()
	})
	t.Cleanup(stop)
	eventually(t, func() bool { return allSeeded(n) })
	return n, stop
}

func allSeeded(n *Node) bool {
	for _, r := range n.Status().Releases {
		if r.State != stateSeeding {
			return false
		}
	}
	return true
}

// resting are the node's jobs without a goroutine, by release; the value says
// whether the torrent is theirs.
func resting(n *Node) map[string]bool {
	n.releases.mu.Lock()
	defer n.releases.mu.Unlock()
	out := map[string]bool{}
	for id, j := range n.releases.jobs {
		if j.resting != nil {
			out[id] = j.resting.torrent != nil
		}
	}
	return out
}

// eventually waits for something that others bring about.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	giveUp := time.After(2 * time.Minute)
	for !cond() {
		select {
		case <-tick.C:
		case <-giveUp:
			t.Fatal("it does not happen")
		}
	}
}

// nowhere is the URL of a server that is not there.
func nowhere(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	return "http://" + ln.Addr().String()
}

// openFiles is the number of this process's open files.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("cannot count open files here: ", err)
	}
	return len(entries) - 1 // without that of the folder itself
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIdleReleasesCostNothing: neither goroutines nor open files grow with the
// number of releases that a seed and a leaf hold.
func TestIdleReleasesCostNothing(t *testing.T) {
	cost := func(releases, atMostGoroutines, atMostFiles int) (goroutines, files int) {
		dir := publishAll(t, many(releases))
		goroutines, files = runtime.NumGoroutine(), openFiles(t)
		seed, stopSeed := startIdle(t, config.RoleSeed, dir, nowhere(t))
		leaf, stopLeaf := startIdle(t, config.RoleLeaf, dir, "http://"+seed.http.Addr().String())
		for _, n := range []*Node{seed, leaf} {
			eventually(t, func() bool { return len(resting(n)) == releases && len(n.engine.Torrents()) == releases })
		}
		eventually(t, func() bool { return announced(seed) >= 4 })
		eventually(t, func() bool {
			return runtime.NumGoroutine()-goroutines <= atMostGoroutines && openFiles(t)-files <= atMostFiles
		})
		during, open := runtime.NumGoroutine()-goroutines, openFiles(t)-files
		stopLeaf()
		stopSeed()
		eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files })
		return during, open
	}
	// What two nodes need, and an announce or two that are under way.
	goroutines, files := cost(4, 1<<20, 1<<20)
	cost(200, goroutines+30, files+15)
}

// announced is the number of the seed's torrents that a leaf seeds too.
func announced(seed *Node) (n int) {
	for _, tor := range seed.engine.Torrents() {
		if t, ok := seed.tracker.Torrent(tor.InfoHash()); ok && t.Seeds == 2 {
			n++
		}
	}
	return n
}

// TestRestingReleasesAreDropped: what is removed from the disk leaves the swarm
// and the trackers too.
func TestRestingReleasesAreDropped(t *testing.T) {
	dir := publishAll(t, many(16))
	seed, _ := startIdle(t, config.RoleSeed, dir, nowhere(t))
	leaf, _ := startIdle(t, config.RoleLeaf, dir, "http://"+seed.http.Addr().String())
	eventually(t, func() bool { return announced(seed) == 16 })
	var old [][20]byte
	for _, tor := range leaf.engine.Torrents() {
		old = append(old, tor.InfoHash())
	}
	for _, n := range []*Node{leaf, seed} {
		cfg := *n.cfg.Load()
		cfg.Keep = 1
		n.cfg.Store(&cfg)
		n.prune(t.Context())
		eventually(t, func() bool { return len(n.releases.list()) == 4 && len(n.engine.Torrents()) == 4 })
		if n == leaf { // it has told the seed
			eventually(t, func() bool { return announced(seed) == 4 })
		}
	}
	allowed := 0
	for _, ih := range old {
		if _, ok := seed.tracker.Torrent(ih); ok {
			allowed++
		}
	}
	if allowed != 4 {
		t.Errorf("the tracker serves %d torrents, want 4", allowed)
	}
}

// TestStartRemovesOldReleases: a start with a lower keep removes what is older.
func TestStartRemovesOldReleases(t *testing.T) {
	dir := publishAll(t, many(12))
	n, _ := startIdle(t, config.RoleLeaf, dir, nowhere(t), func(c *config.Config) { c.Keep = 2 })
	if got := len(n.store.Releases()); got != 8 {
		t.Errorf("%d releases are left of 4 channels, want 8", got)
	}
}

// TestMasterStartRemovesOldReleases is the same for a master, which says what went.
func TestMasterStartRemovesOldReleases(t *testing.T) {
	dir := publishAll(t, many(12))
	core, logs := observer.New(zap.InfoLevel)
	cfg := config.Default()
	cfg.Role, cfg.Dir, cfg.Listen, cfg.Keep = config.RoleMaster, dir, "127.0.0.1:0", 2
	n, err := New(&cfg, "test", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	eventually(t, func() bool { return logs.FilterMessage("removed an old release").Len() == 4 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := len(n.store.Releases()); got != 8 {
		t.Errorf("%d releases are left of 4 channels, want 8", got)
	}
	for _, l := range logs.FilterMessage("removed an old release").All() {
		if f := l.ContextMap(); f["channel"] == nil || f["serial"] != uint64(1) {
			t.Errorf("it is not said which release went: %v", f)
		}
	}
}

// TestSharedTorrentChangesHands: of two releases with the same content one has
// the torrent, and the other takes it over without having had a goroutine.
func TestSharedTorrentChangesHands(t *testing.T) {
	dir := publishAll(t, []published{{"web", "a"}, {"web", "b"}, {"web", "a"}})
	n, _ := startIdle(t, config.RoleSeed, dir, nowhere(t))
	eventually(t, func() bool { return len(resting(n)) == 3 && len(n.engine.Torrents()) == 2 })
	var has, waits string
	for id, torrent := range resting(n) {
		if rel, err := n.store.Release(id); err != nil || rel.Manifest.Serial == 2 {
			continue
		}
		if torrent {
			has = id
		} else {
			waits = id
		}
	}
	if has == "" || waits == "" {
		t.Fatalf("%v", resting(n))
	}
	n.releases.drop(has)
	eventually(t, func() bool { return resting(n)[waits] })
	if len(n.engine.Torrents()) != 2 || len(n.releases.list()) != 2 {
		t.Errorf("%d torrents, %d jobs", len(n.engine.Torrents()), len(n.releases.list()))
	}
	if announcedAlone(n) != 2 {
		t.Error("the tracker does not serve the torrent any more")
	}
}

// announcedAlone is the number of torrents that the tracker serves with this
// node as the only seed.
func announcedAlone(n *Node) (k int) {
	for _, tor := range n.engine.Torrents() {
		if t, ok := n.tracker.Torrent(tor.InfoHash()); ok && t.Seeds == 1 {
			k++
		}
	}
	return k
}

// BenchmarkIdleReleases shows what each of 1,000 complete releases costs a node
// that has nothing to do.
func BenchmarkIdleReleases(b *testing.B) {
	const releases = 1000
	dir := publishAll(b, many(releases))
	for _, role := range []string{config.RoleSeed, config.RoleLeaf} {
		b.Run(role, func(b *testing.B) {
			for range b.N {
				upstream := nowhere(b)
				goroutines, files, bytes := runtime.NumGoroutine(), openFiles(b), heap()
				start := time.Now()
				n, stop := startIdle(b, role, dir, upstream)
				b.ReportMetric(time.Since(start).Seconds(), "start-s")
				eventually(b, func() bool { return len(resting(n)) == releases })
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
				b.ReportMetric(float64(openFiles(b)-files), "files")
				b.ReportMetric(float64(heap()-bytes)/releases, "heap-B/release")
				b.ReportMetric(0, "ns/op")
				stop()
			}
		})
	}
}
