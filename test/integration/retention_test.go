package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
)

// fill takes space on a file system until so much is free.
func fill(t *testing.T, dir string, free int64) (empty func()) {
	t.Helper()
	var st syscall.Statfs_t
	must(t, syscall.Statfs(dir, &st))
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	must(t, syscall.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-free))
	must(t, f.Close())
	return func() { must(t, os.Remove(filler)) }
}

// kept are the serials of the complete releases that a member has.
func (m *member) kept() (out []uint64) {
	s, err := m.status()
	if err != nil {
		return nil
	}
	for _, r := range s.Releases {
		if r.BytesLeft == 0 {
			out = append(out, r.Serial)
		}
	}
	return out
}

// TestOldReleasesMakeRoom: on a small disk old releases go for new ones, the
// live and the previous one stay, and what has no room waits for it.
func TestOldReleasesMakeRoom(t *testing.T) {
	needRoot(t)
	const size = 10 << 20
	master := newMaster(t, "-keep=20")
	seed := newSeed(t, master, "", "-keep=20")
	leaf := &member{t: t, role: "leaf", addr: host(t), dir: tmpfs(t, "size=64m")}
	leaf.args = []string{"-role=leaf", "-seed=" + seed.url(), "-dir=" + leaf.dir, "-peer-listen=" + leaf.addr + ":6881", "-min-free=4MiB", "-listen=" + leaf.addr + ":6969"}
	leaf.args = append(leaf.args, "-keep=20")
	leaf.restart()
	path, data := payload(t, "x.bin", size)
	for i := range uint64(8) { // five fit
		data[0] = byte(i)
		must(t, os.WriteFile(path, data, 0o644))
		master.publish("web", path)
		awaitLive(t, []*member{leaf}, i+1)
	}
	got := leaf.kept()
	if len(got) < 3 || len(got) > 5 || got[len(got)-1] != 8 || got[len(got)-2] != 7 {
		t.Errorf("the leaf keeps %v", got)
	}
	if n := len(seed.kept()); n != 8 {
		t.Errorf("the seed, which has room, keeps %d", n)
	}
	s, err := leaf.status()
	must(t, err)
	if d := s.Disk; d.MinFree != 4<<20 || d.Size != 64<<20 || d.Releases < int64(len(got))*size || d.Releases > int64(len(got))*size+2<<20 || d.Short || d.Free < 4<<20 {
		t.Errorf("disk: %+v", d)
	}
	// Nothing more can go: there are the live and the previous release, and somebody's file.
	leaf.stop(syscall.SIGTERM, 10*time.Second)
	leaf.args[len(leaf.args)-1] = "-keep=1"
	leaf.restart()
	await(t, 20*time.Second, "old releases are gone", func() bool { return fmt.Sprint(leaf.kept()) == "[7 8]" })
	empty := fill(t, leaf.dir, 2<<20)
	data[0] = 'n'
	must(t, os.WriteFile(path, data, 0o644))
	master.publish("web", path)
	await(t, 20*time.Second, "the leaf waits for space", func() bool {
		s, err := leaf.status()
		r := leaf.release("web", 9)
		return err == nil && s.Disk.Short && r.State == "waiting for space" && strings.Contains(r.Problem, "no space left")
	})
	if got, err := os.ReadFile(filepath.Join(leaf.dir, "x.bin")); err != nil || got[0] != 7 {
		t.Errorf("what is live has changed: %v", err)
	}
	if n := strings.Count(leaf.log(), "no space for a release"); n != 1 {
		t.Errorf("the log says %d times that there is no space", n)
	}
	if out, _, code := run(t, bin, "status", "-dir="+leaf.dir); code != 0 || !strings.Contains(out, "a release waits for space") {
		t.Errorf("status:\n%s", out)
	}
	empty()
	awaitFile(t, 30*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
	await(t, 10*time.Second, "the alarm ends", func() bool { s, err := leaf.status(); return err == nil && !s.Disk.Short })
}

// TestRulesAtReload: SIGHUP takes over what is kept, and old releases go at once.
func TestRulesAtReload(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(config, []byte("keep: 9\n"), 0o644))
	master := newMaster(t, "-config="+config)
	path, data := payload(t, "x.bin", 1<<20)
	for i := range 5 {
		data[0] = byte(i)
		must(t, os.WriteFile(path, data, 0o644))
		master.publish("web", path)
	}
	if got := fmt.Sprint(master.kept()); got != "[1 2 3 4 5]" {
		t.Fatalf("kept %s", got)
	}
	must(t, os.WriteFile(config, []byte("keep: 9\nkeep_bytes: 3500KiB\n"), 0o644))
	must(t, syscall.Kill(master.cmd.Process.Pid, syscall.SIGHUP))
	await(t, 10*time.Second, "the oldest are gone", func() bool { return fmt.Sprint(master.kept()) == "[3 4 5]" })
	// On a full disk a publish makes room as well.
	must(t, os.WriteFile(config, []byte("keep: 9\nkeep_age: 1ms\n"), 0o644))
	must(t, syscall.Kill(master.cmd.Process.Pid, syscall.SIGHUP))
	await(t, 10*time.Second, "only what a rollback needs is there", func() bool { return fmt.Sprint(master.kept()) == "[4 5]" })
	if _, stderr, code := run(t, bin, "-role=master", "-dir="+t.TempDir(), "-min-free=120%"); code != node.ExConfig && code != node.ExUsage {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// TestPublishMakesRoom: on the master's own small disk.
func TestPublishMakesRoom(t *testing.T) {
	needRoot(t)
	master := newMaster(t)
	master.stop(syscall.SIGTERM, 10*time.Second)
	master.dir = tmpfs(t, "size=32m")
	for i, a := range master.args {
		if strings.HasPrefix(a, "-dir=") {
			master.args[i] = "-dir=" + master.dir
		}
	}
	master.args = append(master.args, "-keep=20")
	master.restart()
	path, data := payload(t, "x.bin", 8<<20)
	for i := range 6 {
		data[0] = byte(i)
		must(t, os.WriteFile(path, data, 0o644))
		master.publish("web", path)
	}
	got := master.kept()
	if len(got) < 2 || len(got) > 3 || got[len(got)-1] != 6 {
		t.Errorf("the master keeps %v", got)
	}
	if b, err := os.ReadFile(filepath.Join(master.dir, ".distd/releases", master.release("web", 6).ID, "content/x.bin")); err != nil || !bytes.Equal(b, data) {
		t.Errorf("the newest release: %v", err)
	}
}
