package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHardLinksOfATree: the names of one file are one file on every node, its bytes
// travel once, and what becomes of it is followed and repaired.
func TestHardLinksOfATree(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "", "-reuse=link")
	leaf := newLeaf(t, seed, "-reuse=link")
	both := []*member{seed, leaf}
	tree := manyFiles(t, 10)
	for _, name := range []string{"a", "d0/z", "deep/er/b"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755))
		must(t, os.Link(filepath.Join(tree, "d0/f5"), filepath.Join(tree, name)))
	}
	must(t, os.Link(filepath.Join(tree, "d0/f6"), filepath.Join(t.TempDir(), "outside")))
	master.publish("web", tree)
	const once = 10*40_000 + 45
	names := []string{"a", "d0/f5", "d0/z", "deep/er/b"}
	settled := func(serial uint64, names ...string) {
		t.Helper()
		for _, m := range both {
			await(t, 30*time.Second, fmt.Sprintf("%s has release %d", m.role, serial), func() bool { return m.release("web", serial).State == "seeding" })
			live := filepath.Join(m.dir, "site")
			sameTree(t, live, tree)
			for _, name := range names {
				if inode(t, filepath.Join(live, name)) != inode(t, filepath.Join(live, names[0])) {
					t.Errorf("%s: %s is not the file %s", m.role, name, names[0])
				}
			}
		}
	}
	settled(1, names...)
	for _, m := range both {
		r := m.release("web", 1)
		if got := r.FromPeers + r.FromMirrors; r.Size != once || got < once || got > once*3/2 {
			t.Errorf("%s: %d bytes came of %d, want %d", m.role, got, r.Size, once)
		}
	}
	id := leaf.release("web", 1).ID
	want, err := os.ReadFile(filepath.Join(tree, "a"))
	must(t, err)
	for _, name := range names {
		file := filepath.Join(t.TempDir(), "got")
		if _, stderr, code := run(t, "curl", "-sSf", "-o", file, seed.url()+"/releases/"+id+"/content/site/"+name); code != 0 {
			t.Errorf("GET %s: %s", name, stderr)
		} else if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("GET %s: other bytes (%v)", name, err)
		}
	}

	// A name becomes a copy, and one goes: nothing travels.
	live := filepath.Join(leaf.dir, "site")
	must(t, os.Remove(filepath.Join(tree, "a")))
	data, err := os.ReadFile(filepath.Join(tree, "d0/z"))
	must(t, err)
	st, err := os.Stat(filepath.Join(tree, "d0/z"))
	must(t, err)
	must(t, os.Remove(filepath.Join(tree, "d0/z")))
	must(t, os.WriteFile(filepath.Join(tree, "d0/z"), data, 0o644))
	must(t, os.Chtimes(filepath.Join(tree, "d0/z"), st.ModTime(), st.ModTime()))
	master.publish("web", tree)
	settled(2, "d0/f5", "deep/er/b")
	for _, m := range both {
		if inode(t, filepath.Join(m.dir, "site/d0/z")) == inode(t, filepath.Join(m.dir, "site/d0/f5")) {
			t.Errorf("%s: what is a copy is linked", m.role)
		}
	}

	// One that is damaged is made again.
	must(t, os.Remove(filepath.Join(live, "deep/er/b")))
	must(t, os.WriteFile(filepath.Join(live, "deep/er/b"), data, 0o644))
	if _, stdout, code := run(t, bin, "verify", "-dir="+leaf.dir); code != 65 {
		t.Errorf("verify of a damaged leaf: exit code %d\n%s", code, stdout)
	}
	if _, stderr, code := run(t, bin, "verify", "-repair", "-dir="+leaf.dir); code != 0 {
		t.Errorf("repair: exit code %d\n%s", code, stderr)
	}
	settled(2, "d0/f5", "deep/er/b")
	for _, m := range both {
		if _, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
			t.Errorf("%s: verify: exit code %d\n%s", m.role, code, stderr)
		}
	}
}
