package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
)

const (
	crashSize = 48 << 20
	crashRate = 16 << 20 // bytes a second over the long link
)

// farm is a master, a seed behind a slow link, and a leaf.
type farm struct {
	master, seed, leaf *member
	link               *throttle
	runs               func() []string // the leaf's hook
}

func newFarm(t *testing.T, perSecond int) *farm {
	t.Helper()
	f := &farm{master: newMaster(t)}
	f.link = newThrottle(t, f.master.addr+":8443", perSecond)
	f.seed = newSeed(t, f.master, "https://"+f.link.addr)
	hook, runs := countingHook(t)
	f.leaf, f.runs = newLeaf(t, f.seed, "-hook="+hook), runs
	return f
}

// middle waits until a member has some share of a release, between the given
// per cents, and returns its state then.
func middle(t *testing.T, m *member, channel string, serial uint64, low, high int) node.ReleaseStatus {
	t.Helper()
	var r node.ReleaseStatus
	await(t, 20*time.Second, fmt.Sprintf("the %s has %d%% of the release", m.role, low), func() bool {
		r = m.release(channel, serial)
		return r.Pieces > 0 && r.Have*100 >= r.Pieces*low
	})
	if r.Have*100 > r.Pieces*high {
		t.Fatalf("the %s has %d of %d pieces already: the link is too fast for this test", m.role, r.Have, r.Pieces)
	}
	return r
}

// whole waits until seed and leaf have the content live and checks that the
// hook has run exactly once.
func (f *farm) whole(t *testing.T, name string, data []byte) {
	t.Helper()
	awaitFile(t, 30*time.Second, filepath.Join(f.seed.dir, name), data)
	awaitFile(t, 30*time.Second, filepath.Join(f.leaf.dir, name), data)
	await(t, 10*time.Second, "the hook has run", func() bool { return len(f.runs()) > 0 })
	await(t, 10*time.Second, "the hook is done", func() bool { return f.leaf.release("web", 1).HookOutcome == "done" })
	if runs := f.runs(); len(runs) != 1 || !strings.HasPrefix(runs[0], "1 1 ") {
		t.Errorf("hook runs %q, want one, with attempt 1", runs)
	}
}

// carriedOnce checks that no more came over the long link than the content and
// what was on its way when something crashed.
func (f *farm) carriedOnce(t *testing.T, size int) {
	t.Helper()
	if got := f.link.carried.Load(); got > int64(size)*115/100 {
		t.Errorf("%d bytes came over the long link for a release of %d: verified pieces were fetched again", got, size)
	}
}

func TestMasterCrash(t *testing.T) {
	t.Parallel()
	f := newFarm(t, crashRate)
	path, data := payload(t, "site.tar", crashSize)
	f.master.publish("web", path)
	middle(t, f.seed, "web", 1, 30, 70)
	f.master.kill9()
	f.master.restart()
	f.whole(t, "site.tar", data)
	f.carriedOnce(t, len(data))
}

func TestSeedCrash(t *testing.T) {
	t.Parallel()
	f := newFarm(t, crashRate)
	path, data := payload(t, "site.tar", crashSize)
	f.master.publish("web", path)
	before := middle(t, f.seed, "web", 1, 40, 80)
	f.seed.kill9()
	f.seed.restart()
	f.whole(t, "site.tar", data)
	f.carriedOnce(t, len(data))
	after := f.seed.release("web", 1)
	if had := before.Size - before.BytesLeft; after.FromMirrors > before.Size-had {
		t.Errorf("the seed had %d of %d bytes before the crash and fetched %d after it", had, before.Size, after.FromMirrors)
	}
}

func TestLeafCrash(t *testing.T) {
	t.Parallel()
	f := newFarm(t, crashRate)
	path, data := payload(t, "site.tar", crashSize)
	f.master.publish("web", path)
	before := middle(t, f.leaf, "web", 1, 40, 80)
	f.leaf.kill9()
	if _, err := os.Stat(filepath.Join(f.leaf.dir, "site.tar")); err == nil {
		t.Error("an unfinished release is live")
	}
	f.leaf.restart()
	f.whole(t, "site.tar", data)
	after := f.leaf.release("web", 1)
	if had := before.Size - before.BytesLeft; after.FromPeers > before.Size-had {
		t.Errorf("the leaf had %d of %d bytes before the crash and fetched %d after it", had, before.Size, after.FromPeers)
	}
	if after.FromPeers == 0 {
		t.Error("the leaf fetched nothing after the crash: it was not in the middle")
	}
	// What is live and done stays so over another crash, and the hook is not
	// run again.
	f.leaf.kill9()
	f.leaf.restart()
	await(t, 10*time.Second, "the leaf seeds again", func() bool { return f.leaf.release("web", 1).State == "seeding" })
	f.whole(t, "site.tar", data)
}

// TestCrashInHook kills a leaf while its hook runs: the hook ends with it, and
// is run again with the next attempt number.
func TestCrashInHook(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	dir := t.TempDir()
	log, hook := filepath.Join(dir, "log"), filepath.Join(dir, "hook.sh")
	script := fmt.Sprintf("#!/bin/sh\necho \"begin $DISTD_SERIAL $DISTD_ATTEMPT $$\" >> '%[1]s'\n"+
		"[ $DISTD_ATTEMPT = 1 ] && sleep 60\necho \"end $DISTD_SERIAL $DISTD_ATTEMPT\" >> '%[1]s'\n", log)
	must(t, os.WriteFile(hook, []byte(script), 0o755))
	leaf := newLeaf(t, seed, "-hook="+hook)
	path, data := payload(t, "site.tar", 1<<20)
	master.publish("web", path)
	lines := func() []string {
		b, _ := os.ReadFile(log)
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	await(t, 20*time.Second, "the hook has begun", func() bool { return strings.HasPrefix(lines()[0], "begin 1 1 ") })
	pid, err := strconv.Atoi(strings.Fields(lines()[0])[3])
	must(t, err)
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	awaitFile(t, time.Second, filepath.Join(leaf.dir, "site.tar"), data) // it is live before its hook runs
	leaf.kill9()
	await(t, 5*time.Second, "the hook of the killed leaf has ended", func() bool { return syscall.Kill(pid, 0) != nil })
	leaf.restart()
	await(t, 10*time.Second, "the hook has run again", func() bool { return len(lines()) == 3 })
	got := lines()
	if !strings.HasPrefix(got[1], "begin 1 2 ") || got[2] != "end 1 2" {
		t.Errorf("hook runs %q, want a second one with attempt 2", got)
	}
	await(t, 5*time.Second, "the outcome is recorded", func() bool {
		r := leaf.release("web", 1)
		return r.HookAttempts == 2 && r.HookOutcome == "done"
	})
	leaf.kill9()
	leaf.restart()
	await(t, 10*time.Second, "the leaf seeds again", func() bool { return leaf.release("web", 1).State == "seeding" })
	if got := lines(); len(got) != 3 {
		t.Errorf("hook runs %q: it ran again though it was done", got)
	}
}

// TestRandomCrashes kills members at random moments while releases come one
// after the other. Whoever looks at a live file sees a whole release.
func TestRandomCrashes(t *testing.T) {
	t.Parallel()
	const rounds, size = 10, 6 << 20
	known := make([][]byte, rounds)
	paths := make([]string, rounds)
	for i := range rounds {
		paths[i], known[i] = payload(t, "site.tar", size+i)
	}
	randomCrashes(t, paths, "site.tar", func(live string) error {
		b, err := os.ReadFile(live)
		if err != nil {
			return nil // nothing is live yet
		}
		if i := len(b) - size; i < 0 || i >= rounds || !bytes.Equal(b, known[i]) {
			return fmt.Errorf("%d bytes that are no whole release", len(b))
		}
		return nil
	})
}

// TestRandomCrashesOfTrees is the same with folders of many files.
func TestRandomCrashesOfTrees(t *testing.T) {
	t.Parallel()
	const rounds, files = 6, 40
	paths := make([]string, rounds)
	for i := range rounds {
		paths[i] = filepath.Join(t.TempDir(), "site")
		for j := range files {
			dir := filepath.Join(paths[i], fmt.Sprint("d", j%5))
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", j)), bytes.Repeat([]byte{byte(i)}, 20_000+i), 0o640))
		}
	}
	randomCrashes(t, paths, "site", func(live string) error {
		release, err := filepath.EvalSymlinks(live)
		if err != nil {
			return nil // nothing is live yet
		}
		found, err := filepath.Glob(filepath.Join(release, "d*", "f*"))
		if err != nil || len(found) != files {
			return fmt.Errorf("%d files of %d, %v", len(found), files, err) //nolint:errorlint // it may be nil
		}
		var version byte
		for i, file := range found {
			b, err := os.ReadFile(file)
			if err != nil || len(b) == 0 {
				return fmt.Errorf("%s: %d bytes, %v", file, len(b), err) //nolint:errorlint // it may be nil
			}
			if i == 0 {
				version = b[0]
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 || !bytes.Equal(b, bytes.Repeat([]byte{version}, 20_000+int(version))) {
				return fmt.Errorf("%s is not of release %d or not whole", file, version)
			}
		}
		return nil
	})
}

// randomCrashes publishes the paths one after the other and kills a member
// during each; look is called all the time with the live names.
func randomCrashes(t *testing.T, paths []string, name string, look func(live string) error) {
	notShort(t)
	rnd := seeded(t)
	f := newFarm(t, 64<<20)
	w := newWatcher(t, look, filepath.Join(f.leaf.dir, name), filepath.Join(f.seed.dir, name))
	var last published
	for i, path := range paths {
		victim := []*member{f.leaf, f.leaf, f.seed, f.master}[rnd.IntN(4)]
		pause := time.Duration(rnd.IntN(400)) * time.Millisecond
		p := start(t, bin, "publish", "-dir="+f.master.dir, "-channel=web", path)
		time.Sleep(pause)
		t.Logf("round %d: kill the %s after %s", i, victim.role, pause)
		victim.kill9()
		if victim == f.master {
			<-p.done // it publishes by itself when it has found no master, and has the folder then
		}
		victim.restart()
		<-p.done
		if p.err != nil && victim != f.master {
			t.Errorf("publish of round %d: %v\n%s", i, p.err, p.log())
		}
		last = f.master.publish("web", path) // unchanged, unless the master was killed
	}
	for _, m := range []*member{f.leaf, f.seed} {
		await(t, 30*time.Second, "the last release is live on the "+m.role, func() bool {
			s, err := m.status()
			return err == nil && len(s.Channels) == 1 && s.Channels[0].Live == last.ID
		})
	}
	await(t, 10*time.Second, "the hook of the last release is done", func() bool {
		return f.leaf.release("web", last.Serial).HookOutcome == "done"
	})
	if looks := w.stop(); looks < len(paths) {
		t.Errorf("the live names were looked at only %d times", looks)
	}
	seen := map[string]bool{}
	for _, line := range f.runs() {
		run := strings.Join(strings.Fields(line)[:2], " ")
		if seen[run] {
			t.Errorf("the hook ran twice as %q (serial and attempt)", run)
		}
		seen[run] = true
	}
	for _, m := range []*member{f.master, f.seed, f.leaf} {
		if out, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
			t.Errorf("verify on the %s: exit code %d\n%s%s", m.role, code, out, stderr)
		}
	}
}

// watcher looks at live names all the time and reports what is no whole release.
type watcher struct {
	// stop ends the watcher and returns how often it has seen a live name.
	stop func() int
}

func newWatcher(t *testing.T, look func(live string) error, live ...string) *watcher {
	quit, looks := make(chan struct{}), make(chan int, 1)
	w := &watcher{stop: sync.OnceValue(func() int { close(quit); return <-looks })}
	t.Cleanup(func() { w.stop() })
	go func() {
		n := 0
		defer func() { looks <- n }()
		for {
			for _, l := range live {
				if _, err := os.Stat(l); err == nil {
					n++
				}
				if err := look(l); err != nil {
					t.Errorf("%s: %v", l, err)
				}
			}
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return w
}

// TestPublishCrash kills publishes that no daemon does: nothing of them can be
// seen, and the next one has the folder to itself.
func TestPublishCrash(t *testing.T) {
	t.Parallel()
	rnd := seeded(t)
	dir := filepath.Join(t.TempDir(), "master")
	path, _ := payload(t, "site.tar", 96<<20)
	for range 6 {
		p := start(t, bin, "publish", "-dir="+dir, "-channel=web", path)
		pause := time.Duration(rnd.IntN(250)) * time.Millisecond
		time.Sleep(pause)
		p.kill9()
		_, err := os.Stat(filepath.Join(dir, ".distd", "channels", "web", "latest.json"))
		done := err == nil
		t.Logf("killed after %s, published: %v", pause, done)
		if _, stderr, code := run(t, bin, "verify", "-dir="+dir); code != 0 && code != node.ExNoInput {
			t.Errorf("verify after a crash: exit code %d\n%s", code, stderr)
		}
		if done {
			break
		}
	}
	out, stderr, code := run(t, bin, "publish", "-json", "-dir="+dir, "-channel=web", path)
	if code != 0 || !strings.Contains(out, `"serial": 1,`) {
		t.Errorf("publish after crashes: exit code %d\n%s%s", code, out, stderr)
	}
	if _, stderr, code := run(t, bin, "verify", "-dir="+dir); code != 0 {
		t.Errorf("verify: exit code %d\n%s", code, stderr)
	}
	for _, d := range []string{"staging", "tmp", "trash"} {
		entries, err := os.ReadDir(filepath.Join(dir, ".distd", d))
		must(t, err)
		for _, e := range entries {
			if inside, _ := os.ReadDir(filepath.Join(dir, ".distd", d, e.Name())); len(inside) > 0 {
				t.Errorf("%s/%s is left behind", d, e.Name())
			}
		}
	}
	if rels, err := os.ReadDir(filepath.Join(dir, ".distd", "releases")); err != nil || len(rels) != 1 {
		t.Errorf("%d releases on the disk, want 1 (%v)", len(rels), err)
	}
}
