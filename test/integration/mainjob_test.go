package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMainJob publishes twice; two datacenters fetch each release once and
// every leaf runs its hook once for each.
func TestMainJob(t *testing.T) {
	master := newMaster(t)
	type leaf struct {
		*member
		runs func() []string
	}
	var seeds []*member
	var leaves []leaf
	for range 2 {
		seed := newSeed(t, master, "")
		seeds = append(seeds, seed)
		for range 2 {
			hook, runs := countingHook(t)
			leaves = append(leaves, leaf{newLeaf(t, seed, "-channel=web", "-hook="+hook), runs})
		}
	}
	for serial, size := range []int{5 << 20, 3<<20 + 17} {
		path, data := payload(t, "site.tar", size)
		p := master.publish("web", path)
		if p.Serial != uint64(serial+1) || p.Unchanged {
			t.Fatalf("published %+v, want serial %d", p, serial+1)
		}
		for _, l := range leaves {
			awaitFile(t, 30*time.Second, filepath.Join(l.dir, "site.tar"), data)
			await(t, 10*time.Second, "the hook has run", func() bool { return len(l.runs()) > serial })
		}
		for _, s := range seeds {
			awaitFile(t, 10*time.Second, filepath.Join(s.dir, "site.tar"), data)
			if r := s.release("web", p.Serial); r.FromMirrors > int64(size)*105/100 {
				t.Errorf("a datacenter fetched %d bytes of %d over the long link", r.FromMirrors, size)
			}
		}
		if again := master.publish("web", path); !again.Unchanged || again.Serial != p.Serial {
			t.Errorf("publishing the same again gives %+v", again)
		}
	}
	for _, l := range leaves {
		runs := l.runs()
		if len(runs) != 2 || !strings.HasPrefix(runs[0], "1 1 ") || !strings.HasSuffix(runs[1], " 1 "+filepath.Join(l.dir, "site.tar")) {
			t.Errorf("hook runs of a leaf: %q, want one for each release with three arguments", runs)
		}
	}
}

// TestTree publishes a folder; its modes, symlinks and empty folders follow,
// and so do deletions.
func TestTree(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	leaf := newLeaf(t, seed)
	tree := filepath.Join(t.TempDir(), "site")
	must(t, os.MkdirAll(filepath.Join(tree, "a", "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "a", "run.sh"), []byte("#!/bin/sh\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "index.html"), []byte("one"), 0o644))
	must(t, os.WriteFile(filepath.Join(tree, "gone"), nil, 0o644))
	must(t, os.Symlink("a/run.sh", filepath.Join(tree, "run")))
	master.publish("web", tree)
	live := filepath.Join(leaf.dir, "site")
	awaitFile(t, 30*time.Second, filepath.Join(live, "index.html"), []byte("one"))
	if info, err := os.Stat(filepath.Join(live, "a", "run.sh")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("a/run.sh is not executable: %v, %v", info, err)
	}
	if to, err := os.Readlink(filepath.Join(live, "run")); err != nil || to != "a/run.sh" {
		t.Errorf("run leads to %q, %v", to, err)
	}
	if info, err := os.Stat(filepath.Join(live, "a", "empty")); err != nil || !info.IsDir() {
		t.Errorf("a/empty is not there: %v", err)
	}
	must(t, os.Remove(filepath.Join(tree, "gone")))
	must(t, os.WriteFile(filepath.Join(tree, "index.html"), []byte("two!"), 0o644))
	master.publish("web", tree)
	awaitFile(t, 30*time.Second, filepath.Join(live, "index.html"), []byte("two!"))
	if _, err := os.Lstat(filepath.Join(live, "gone")); err == nil {
		t.Error("a file that the second release does not have is still live")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
