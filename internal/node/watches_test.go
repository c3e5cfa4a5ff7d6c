package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"distd/internal/config"
	"distd/internal/watch"
)

// watching runs a master that watches a folder for the channel web, until stop
// or the end of the test.
func watching(t *testing.T, dir, folder string, change func(*config.Config)) (n *Node, logs *observer.ObservedLogs, stop func()) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	cfg := config.Default()
	cfg.Role, cfg.Dir, cfg.Listen, cfg.Keep = config.RoleMaster, dir, "127.0.0.1:0", 1<<20
	cfg.Watch, cfg.WatchSettle = []string{"web=" + folder}, 200*time.Millisecond
	if change != nil {
		change(&cfg)
	}
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
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n, logs, stop
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tree reads all files of a folder.
func tree(dir string) map[string]string {
	files := map[string]string{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			files[rel+"/"] = ""
		default:
			b, err := os.ReadFile(path)
			files[rel] = string(b)
			return err
		}
		return nil
	})
	return files
}

// newestTree is the content of the channel's newest release.
func newestTree(n *Node) map[string]string {
	_, _, p, err := n.store.Pointer("web")
	if err != nil {
		return nil
	}
	r, err := n.store.Release(p.Manifest)
	if err != nil {
		return nil
	}
	return tree(filepath.Join(r.ContentRoot(), p.Name))
}

func serialOf(n *Node) uint64 {
	_, _, p, err := n.store.Pointer("web")
	if err != nil {
		return 0
	}
	return p.Serial
}

// TestWatchedFolder: what is published, what the status and the metrics say of
// it, and what a restart does.
func TestWatchedFolder(t *testing.T) {
	dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "www")
	put(t, filepath.Join(folder, "a"), "a")
	n, logs, stop := watching(t, dir, folder, nil)
	eventually(t, func() bool { return serialOf(n) == 1 })
	put(t, filepath.Join(folder, "d/b"), "b")
	eventually(t, func() bool { return serialOf(n) == 2 })
	eventually(t, func() bool { return n.Status().Watches[0].State == watch.Watching })
	said := logs.FilterMessage("published").All()
	if because, _ := said[len(said)-1].ContextMap()["because"].(string); !strings.HasPrefix(because, "changed: d and 1 more, settled after ") {
		t.Errorf("the log says %v", said)
	}
	s := n.Status()
	for _, r := range s.Releases {
		if r.Serial == 2 && !strings.HasPrefix(r.Trigger, "changed: d and 1 more") {
			t.Errorf("trigger %q", r.Trigger)
		}
	}
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		if m := f.GetMetric()[0]; strings.HasPrefix(f.GetName(), "distd_watch_") {
			found[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if found["distd_watch_releases_total"] != 2 || found["distd_watch_complete"] != 1 || found["distd_watch_folders"] != 2 || found["distd_watch_state"] != 1 {
		t.Errorf("metrics %v", found)
	}
	if _, err := n.Watch(WatchRequest{Action: WatchPause}); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(folder, "c"), "c")
	stop()

	n, _, stop = watching(t, dir, folder, nil)
	eventually(t, func() bool { return n.Status().Watches[0].State == watch.Paused && n.Status().Watches[0].Rescans > 0 })
	if serialOf(n) != 2 {
		t.Error("the pause has ended with the restart")
	}
	if _, err := n.Watch(WatchRequest{Action: WatchResume, Channel: "web"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.Status().Watches[0].Published == 1 })
	for _, r := range n.Status().Releases {
		if want := map[uint64]string{1: "first look", 2: "changed: d", 3: "changed since the last run"}[r.Serial]; !strings.HasPrefix(r.Trigger, want) {
			t.Errorf("release %d was triggered by %q", r.Serial, r.Trigger)
		}
	}
	stop()

	// Nothing has changed: nothing is even read.
	n, logs, _ = watching(t, dir, folder, nil)
	eventually(t, func() bool { s := n.Status().Watches[0]; return s.Rescans > 0 && s.State == watch.Watching })
	if logs.FilterMessage("nothing new to publish").Len() > 0 || n.Status().Watches[0].Last != nil {
		t.Error("a folder that has not changed was published again")
	}
}

func TestWatchSettings(t *testing.T) {
	dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "www")
	put(t, filepath.Join(folder, "a"), "a")
	n, _, stop := watching(t, dir, folder, func(c *config.Config) { c.WatchMarker = ".publish" })
	put(t, filepath.Join(folder, ".publish"), "")
	eventually(t, func() bool { return serialOf(n) == 1 })
	if got := newestTree(n); !maps.Equal(got, map[string]string{"./": "", "a": "a"}) {
		t.Errorf("published %v", got)
	}
	for _, req := range []WatchRequest{{Action: "stop"}, {Action: WatchNow, Channel: "wob"}} {
		if _, err := n.Watch(req); ExitCode(err) != ExUsage {
			t.Errorf("%+v: %v", req, err)
		}
	}
	stop()
	put(t, filepath.Join(dir, ".distd/watch.json"), "{")
	cfg := *n.cfg.Load()
	if _, err := New(&cfg, "test", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "watch.json") {
		t.Errorf("with a broken record: %v", err)
	}
}

// TestWatchRefusals: what cannot be published is said, and tried again when it
// has changed.
func TestWatchRefusals(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "www")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	n, logs, _ := watching(t, t.TempDir(), folder, nil)
	eventually(t, func() bool { return n.Status().Watches[0].State == watch.Held })
	if s := n.Status().Watches[0]; !strings.Contains(s.Problem, "there is no file in it") {
		t.Errorf("status %+v", s)
	}
	put(t, filepath.Join(folder, "a"), "a")
	eventually(t, func() bool { return serialOf(n) == 1 })
	if n := logs.FilterMessageSnippet("not published").Len(); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// TestWatchUnderLoad: files are written in pieces and closed late, moved and
// deleted at random. No half file is ever published, there are no more releases
// than the settle time allows, and in the end all is there.
func TestWatchUnderLoad(t *testing.T) {
	files, length := 5000, time.Minute
	if testing.Short() {
		files, length = 400, 6*time.Second
	}
	const settle = 400 * time.Millisecond
	dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "www")
	put(t, filepath.Join(folder, "stays"), string(whole(rand.New(rand.NewPCG(1, 1)))))
	n, _, _ := watching(t, dir, folder, func(c *config.Config) { c.WatchSettle, c.WatchMaxDelay, c.MaxDelete = settle, 4*time.Second, "none" })
	begun := time.Now()
	l := &load{folder: folder, files: int64(files), pace: length * 2 / time.Duration(files)}
	l.run(8, 4*length)
	eventuallyWithin(t, 2*time.Minute, func() bool { return maps.Equal(tree(folder), newestTree(n)) })
	took := time.Since(begun)

	halves, releases := 0, 0
	for _, r := range n.store.Releases() {
		releases++
		for name, text := range tree(filepath.Join(r.ContentRoot(), r.Manifest.Name)) {
			if !strings.HasSuffix(name, "/") && !isWhole(text) {
				halves++
				t.Errorf("release %d has half of %s (%d bytes)", r.Manifest.Serial, name, len(text))
			}
		}
	}
	s := n.Status().Watches[0]
	t.Logf("%d files written, %d moves, %d deletions in %s: %d releases, %d tries put off, %d files in the end, %d events",
		files-int(l.files), l.moves.Load(), l.deletions.Load(), took.Round(time.Second), releases, s.Retries, len(tree(folder)), s.Events)
	if most := int(took/settle) + 1; releases > most || releases < 2 {
		t.Errorf("%d releases in %s, which is more than %d, or none on the way", releases, took, most)
	}
	if s.Refusals > 0 || s.Incomplete != "" || s.Guessing {
		t.Errorf("status %+v", s)
	}
}

func eventuallyWithin(t *testing.T, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// load changes a folder at random.
type load struct {
	folder           string
	files            int64         // left to be written
	pace             time.Duration // of one writer, for each file
	moves, deletions atomic.Int64

	gate    sync.RWMutex // passed with each step
	between sync.RWMutex // held while a file is written
}

// whole makes content that says its own length and sum.
func whole(r *rand.Rand) []byte {
	body := make([]byte, r.IntN(20000))
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	return append(fmt.Appendf(nil, "%08d %x\n", len(body), sha256.Sum256(body)), body...)
}

func isWhole(text string) bool {
	var n int
	var sum string
	head, body, ok := strings.Cut(text, "\n")
	if _, err := fmt.Sscanf(head, "%d %s", &n, &sum); !ok || err != nil {
		return false
	}
	return n == len(body) && sum == fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
}

// run has writers work until all files are written, or for so long at most. Now and then all of them stop for longer
// than the folder needs to settle: in the midst of their files, or between them.
func (l *load) run(writers int, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { l.writer(ctx, rand.New(rand.NewPCG(uint64(i), 7))) })
	}
	wg.Go(func() {
		stop := []*sync.RWMutex{&l.between, &l.gate}
		for r := rand.New(rand.NewPCG(99, 7)); ctx.Err() == nil && atomic.LoadInt64(&l.files) > 0; {
			time.Sleep(time.Duration(500+r.IntN(2500)) * time.Millisecond)
			stop[0].Lock()
			time.Sleep(2 * time.Second)
			stop[0].Unlock()
			stop[0], stop[1] = stop[1], stop[0]
		}
	})
	wg.Wait()
}

// step waits while all stand still.
func (l *load) step() {
	l.gate.RLock()
	l.gate.RUnlock() //nolint:staticcheck // it is a gate
}

func (l *load) name(r *rand.Rand) string {
	return filepath.Join(l.folder, fmt.Sprintf("d%d/e%d/f%d", r.IntN(6), r.IntN(4), r.IntN(150)))
}

func (l *load) writer(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil && atomic.LoadInt64(&l.files) > 0 {
		l.step()
		switch k := r.IntN(20); {
		case k < 3: // a file
			if os.Rename(l.name(r), l.name(r)) == nil {
				l.moves.Add(1)
			}
		case k < 4: // a folder, with what somebody writes there
			to := l.name(r) + ".d"
			if os.Rename(filepath.Dir(l.name(r)), to) == nil {
				l.moves.Add(1)
			}
		case k < 6:
			if os.Remove(l.name(r)) == nil {
				l.deletions.Add(1)
			}
		case k < 7 && r.IntN(10) == 0:
			if os.RemoveAll(filepath.Dir(l.name(r))) == nil {
				l.deletions.Add(1)
			}
		default:
			l.write(r)
		}
	}
}

// write writes a file: anew, over another, or beside and then in its place.
func (l *load) write(r *rand.Rand) {
	name := l.name(r)
	_ = os.MkdirAll(filepath.Dir(name), 0o755)
	target := name
	if r.IntN(4) == 0 {
		target += ".part"
	}
	l.between.RLock()
	defer l.between.RUnlock()
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return // the folder has gone elsewhere
	}
	defer func() { _ = f.Close() }()
	// Two who write to one file would spoil it.
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || f.Truncate(0) != nil {
		return
	}
	pieces := slices.Collect(slices.Chunk(whole(r), 2000+r.IntN(15000)))
	pause := time.Duration(r.Int64N(int64(2*l.pace))) / time.Duration(len(pieces))
	long := -1
	if r.IntN(50) == 0 {
		long = r.IntN(len(pieces))
	}
	for i, p := range pieces {
		l.step()
		if _, err := f.Write(p); err != nil {
			panic(err) // the disk is full: nothing can be learnt
		}
		time.Sleep(pause)
		if i == long {
			time.Sleep(time.Second) // more than it takes to settle
		}
	}
	l.step()
	_ = f.Close()
	atomic.AddInt64(&l.files, -1)
	if target != name {
		_ = os.Rename(target, name)
	}
}
