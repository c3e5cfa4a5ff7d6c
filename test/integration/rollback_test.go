package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distd/internal/node"
	"distd/internal/publish"
)

// rollback runs distd rollback on the member's folder.
func (m *member) rollback(args ...string) (res publish.RolledBack) {
	m.t.Helper()
	out, stderr, code := run(m.t, append([]string{bin, "rollback", "-json", "-dir=" + m.dir, "-channel=web"}, args...)...)
	if code != 0 {
		m.t.Fatalf("rollback: exit code %d\n%s", code, stderr)
	}
	must(m.t, json.Unmarshal([]byte(out), &res))
	return res
}

// TestRollback takes a release of a tree back on all nodes: from the master's
// kept content, without a byte of it on the way.
func TestRollback(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	var leaves []*member
	var hooks []func() []string
	for range 2 {
		hook, runs := countingHook(t)
		leaves = append(leaves, newLeaf(t, seed, "-hook="+hook))
		hooks = append(hooks, runs)
	}
	nodes := append([]*member{seed}, leaves...)
	source := filepath.Join(t.TempDir(), "site")
	must(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	_, bytes := payload(t, "x", 400_000)
	must(t, os.WriteFile(filepath.Join(source, "sub/big"), bytes, 0o644))
	must(t, os.Symlink("sub/big", filepath.Join(source, "link")))
	var want map[string]string // the first version's files
	for i, text := range []string{"good", "bad"} {
		must(t, os.WriteFile(filepath.Join(source, "index"), []byte(text), 0o640))
		master.publish("web", source)
		if i == 0 {
			want = contents(t, source)
		}
		awaitLive(t, nodes, uint64(i+1))
	}
	must(t, os.RemoveAll(source))

	if res := master.rollback("-n"); !res.DryRun || res.Serial != 3 || res.To != 1 {
		t.Errorf("dry run: %+v", res)
	}
	if res := master.rollback(); res.From != 2 || res.To != 1 || res.Serial != 3 {
		t.Errorf("rolled back: %+v", res)
	}
	awaitLive(t, nodes, 3)
	for i, n := range nodes {
		got := contents(t, filepath.Join(n.dir, "site"))
		for p, w := range want {
			if got[p] != w {
				t.Errorf("%s %d: %s is %.40q, want %.40q", n.role, i, p, got[p], w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s %d has %d files, want %d", n.role, i, len(got), len(want))
		}
		if r := n.release("web", 3); r.FromPeers+r.FromMirrors+r.Uploaded+r.Wasted != 0 || r.BytesLeft != 0 {
			t.Errorf("%s %d: content travelled: %+v", n.role, i, r)
		}
	}
	for i, runs := range hooks {
		await(t, 10*time.Second, "the hook has run for each release", func() bool { return len(runs()) >= 3 })
		if got := serials(runs()); !slices.Equal(got, []string{"1 1", "2 1", "3 1"}) {
			t.Errorf("leaf %d: runs of the hook: %q", i, got)
		}
	}
	// A master that does not run.
	master.kill9()
	if res := master.rollback("-to=2"); res.Serial != 4 || res.To != 2 {
		t.Errorf("rolled back alone: %+v", res)
	}
	master.restart()
	awaitLive(t, nodes, 4)
	localRollback(t, leaves[0])
}

// TestRollbackWithoutServer takes a release back where a leaf knows a node of the
// DHT alone. The seed has the content's torrent in an older release already.
func TestRollbackWithoutServer(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	source := filepath.Join(t.TempDir(), "site")
	must(t, os.MkdirAll(source, 0o755))
	for i, text := range []string{"good", "bad"} {
		must(t, os.WriteFile(filepath.Join(source, "index"), []byte(text), 0o644))
		master.publish("web", source)
		awaitLive(t, []*member{seed}, uint64(i+1))
	}
	leaf := func() *member {
		m := &member{t: t, role: "leaf", addr: host(t), dir: filepath.Join(t.TempDir(), "leaf")}
		m.args = []string{"-role=leaf", "-channel=web", "-key=" + filepath.Join(master.dir, ".distd", "keys", "publish.pub"), "-dht=" + seed.addr + ":6881",
			"-dir=" + m.dir, "-peer-listen=" + m.addr + ":6881"}
		m.restart()
		return m
	}
	old := leaf()
	awaitLive(t, []*member{old}, 2)
	master.rollback()
	awaitLive(t, []*member{seed, old, leaf()}, 3)
}

// localRollback goes back on one leaf, which says where all are taken back.
func localRollback(t *testing.T, leaf *member) {
	t.Helper()
	_, stderr, code := run(t, bin, "rollback", "-dir="+leaf.dir, "-channel=web")
	if code != node.ExUsage || !strings.Contains(stderr, "this node is a leaf: a rollback for all nodes is done on the master") || !strings.Contains(stderr, "-local") {
		t.Errorf("rollback on a leaf: exit code %d\n%s", code, stderr)
	}
	if out, stderr, code := run(t, bin, "rollback", "-local", "-dir="+leaf.dir, "-channel=web"); code != 0 || !strings.Contains(out, "channel web: release 3 is live again") {
		t.Errorf("local rollback: exit code %d\n%s%s", code, out, stderr)
	}
	if out, stderr, code := run(t, bin, "status", "-dir="+leaf.dir); code != 0 || !strings.Contains(out, "web 4: taken back on this node alone") {
		t.Errorf("status after the local rollback: exit code %d\n%s%s", code, out, stderr)
	}
	if b, err := os.ReadFile(filepath.Join(leaf.dir, "site/index")); err != nil || string(b) != "good" {
		t.Errorf("the leaf shows %q: %v", b, err)
	}
}

// awaitLive waits until the serial is live and its hook is done on all nodes.
func awaitLive(t *testing.T, nodes []*member, serial uint64) {
	t.Helper()
	for _, n := range nodes {
		await(t, 30*time.Second, n.role+" has made the release live", func() bool {
			s, err := n.status()
			if err != nil || len(s.Channels) == 0 {
				return false
			}
			c := s.Channels[0]
			return c.Serial == serial && c.Live == c.Newest && n.release("web", serial).State == "seeding"
		})
	}
}

// contents are the files below a folder, or where it leads: mode and bytes, or a symlink's target.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	must(t, err)
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		if d.Type()&os.ModeSymlink != 0 {
			out[name], err = os.Readlink(p)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		out[name] = info.Mode().String() + string(b)
		return err
	}))
	return out
}

// serials cuts the lines of a counting hook to serial and attempt.
func serials(runs []string) (out []string) {
	for _, r := range runs {
		f := strings.Fields(r)
		out = append(out, f[0]+" "+f[1])
	}
	return out
}
