package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"distd/internal/node"
)

// verify runs distd verify on the member's folder.
func (m *member) verify(wantCode int, args ...string) (out []node.Verified) {
	m.t.Helper()
	stdout, stderr, code := run(m.t, append([]string{bin, "verify", "-json", "-dir=" + m.dir}, args...)...)
	if code != wantCode {
		m.t.Fatalf("verify: exit code %d, want %d\n%s%s", code, wantCode, stdout, stderr)
	}
	must(m.t, json.Unmarshal([]byte(stdout), &out))
	return out
}

// damagedTree publishes a tree to a seed and two leaves.
func damagedTree(t *testing.T, seedArgs, leafArgs []string) (nodes []*member, want map[string]string) {
	t.Helper()
	master := newMaster(t)
	seed := newSeed(t, master, "", seedArgs...)
	nodes = []*member{seed, newLeaf(t, seed, leafArgs...), newLeaf(t, seed, leafArgs...)}
	source := filepath.Join(t.TempDir(), "site")
	must(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	for _, name := range []string{"flipped", "cut", "gone", "sub/good", "chmod"} {
		_, data := payload(t, "x", 300_000)
		must(t, os.WriteFile(filepath.Join(source, name), data, 0o644))
	}
	must(t, os.Symlink("sub/good", filepath.Join(source, "link")))
	master.publish("web", source, "-piece-length=64KiB")
	awaitLive(t, nodes, 1)
	return nodes, contents(t, source)
}

// flipBit changes a bit and leaves size and time.
func flipBit(t *testing.T, path string, at int64) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	must(t, err)
	must(t, f.Close())
	must(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// spoil damages a live tree in all ways.
func spoil(t *testing.T, site string) {
	t.Helper()
	flipBit(t, filepath.Join(site, "flipped"), 123_456)
	must(t, os.Truncate(filepath.Join(site, "cut"), 1000))
	must(t, os.Remove(filepath.Join(site, "gone")))
	must(t, os.WriteFile(filepath.Join(site, "sub/extra"), []byte("x"), 0o644))
	must(t, os.Chmod(filepath.Join(site, "chmod"), 0o600))
	must(t, os.Remove(filepath.Join(site, "link")))
	must(t, os.Symlink("flipped", filepath.Join(site, "link")))
}

// kinds are "path kind" of all problems.
func kinds(out []node.Verified) string {
	var all []string
	for _, v := range out {
		for _, p := range v.Problems {
			all = append(all, p.Path+" "+p.Kind)
		}
	}
	return strings.Join(all, ", ")
}

func wantContents(t *testing.T, m *member, want map[string]string) {
	t.Helper()
	got := contents(t, filepath.Join(m.dir, "site"))
	for p, w := range want {
		if got[p] != w {
			t.Errorf("%s: %s is not as it was published", m.role, p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d files, want %d", m.role, len(got), len(want))
	}
}

// TestVerifyRepair finds what is wrong on a leaf, keeps it from the others, and
// puts it right from the swarm without running the hook.
func TestVerifyRepair(t *testing.T) {
	hook, runs := countingHook(t)
	nodes, want := damagedTree(t, nil, []string{"-hook=" + hook, "-scrub=0"})
	leaf := nodes[1]
	await(t, 10*time.Second, "both hooks have run", func() bool { return len(runs()) == 2 })
	spoil(t, filepath.Join(leaf.dir, "site"))
	const found = "site/chmod mode, site/cut size, site/flipped hash, site/gone missing, site/link symlink, site/sub/extra extra"
	if got := kinds(leaf.verify(node.ExDataErr)); got != found {
		t.Errorf("found %s\nwant  %s", got, found)
	}
	if r := leaf.release("web", 1); r.Damaged != 6 || r.Unreadable == 0 {
		t.Errorf("the status tells of %d damages, %d pieces held back", r.Damaged, r.Unreadable)
	}
	if out, _, _ := run(t, bin, "status", "-dir="+leaf.dir); !strings.Contains(out, "web 1: damaged: site/flipped: hash") {
		t.Errorf("status:\n%s", out)
	}
	out := leaf.verify(0, "-repair")
	if len(out) != 1 || len(out[0].Repaired) != 6 {
		t.Errorf("repaired: %+v", out)
	}
	wantContents(t, leaf, want)
	leaf.verify(0)
	await(t, 20*time.Second, "the leaf seeds all again", func() bool {
		r := leaf.release("web", 1)
		return r.State == "seeding" && r.Damaged == 0 && r.Unreadable == 0 && r.Have == r.Pieces
	})
	if s := nodes[0].release("web", 1); s.BadPieces != 0 {
		t.Errorf("the seed was sent %d bad pieces", s.BadPieces)
	}
	if len(runs()) != 2 || !strings.Contains(leaf.log(), "no hook is run") {
		t.Errorf("the hook has run %d times", len(runs()))
	}
	// A seed fetches from its master.
	seed := nodes[0]
	flipBit(t, filepath.Join(seed.dir, "site/flipped"), 7)
	seed.verify(0, "-repair")
	wantContents(t, seed, want)
	// Without a daemon what needs no bytes is done, and the rest is said.
	leaf.stop(15, 10*time.Second)
	spoil(t, filepath.Join(leaf.dir, "site"))
	out = leaf.verify(node.ExDataErr, "-repair")
	if kinds(out) != "site/cut size, site/flipped hash, site/gone missing" || len(out[0].Repaired) != 3 || !strings.Contains(out[0].Unrepaired, "running daemon") {
		t.Errorf("without a daemon: %+v", out)
	}
}

// TestScrubInTheBackground finds and repairs by itself.
func TestScrubInTheBackground(t *testing.T) {
	nodes, want := damagedTree(t, nil, []string{"-scrub=1s", "-scrub-rate=2MiB", "-scrub-repair"})
	for _, leaf := range nodes[1:] {
		spoil(t, filepath.Join(leaf.dir, "site"))
	}
	for _, leaf := range nodes[1:] {
		await(t, 60*time.Second, "the leaf is as it was", func() bool {
			got := contents(t, filepath.Join(leaf.dir, "site"))
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
		await(t, 20*time.Second, "a pass ends without damage", func() bool {
			s, err := leaf.status()
			return err == nil && !s.Scrub.Finished.IsZero() && leaf.release("web", 1).Damaged == 0
		})
		if !strings.Contains(leaf.log(), "differs from the manifest") {
			t.Error("the log does not name what differed")
		}
	}
}

// TestKilledRepair: a file is the old one or the new one at any moment, and what
// was fetched before the crash is used.
func TestKilledRepair(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	leaf := newLeaf(t, seed, "-scrub=0")
	path, data := payload(t, "x.bin", 3<<20)
	master.publish("web", path, "-piece-length=64KiB")
	live := filepath.Join(leaf.dir, "x.bin")
	awaitFile(t, 20*time.Second, live, data)
	await(t, 10*time.Second, "the leaf seeds", func() bool { return leaf.release("web", 1).State == "seeding" })
	leaf.kill9()
	damaged := bytes.Clone(data)
	for at := 0; at < len(damaged); at += 64 << 10 { // every piece
		flipBit(t, live, int64(at))
		damaged[at] ^= 1
	}
	leaf.args = append(leaf.args, "-down=256KiB")
	leaf.restart()
	repairing := start(t, bin, "verify", "-repair", "-dir="+leaf.dir)
	patches := func() int {
		files, _ := filepath.Glob(filepath.Join(leaf.dir, ".distd/repair/*/*"))
		return len(files)
	}
	await(t, 30*time.Second, "some pieces are here again", func() bool { return patches() >= 5 })
	leaf.kill9()
	<-repairing.done
	if got, err := os.ReadFile(live); err != nil || !bytes.Equal(got, damaged) {
		t.Errorf("the live file has changed: %v", err)
	}
	before := patches()
	leaf.args = leaf.args[:len(leaf.args)-1]
	leaf.restart()
	leaf.verify(0, "-repair")
	if got, err := os.ReadFile(live); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the live file is not repaired: %v", err)
	}
	if !strings.Contains(leaf.log(), fmt.Sprintf(`"pieces":%d,`, 48-before)) {
		t.Errorf("of %d pieces that were here the log does not tell", before)
	}
	if patches() != 0 {
		t.Error("pieces are left")
	}
	leaf.verify(0)
}
