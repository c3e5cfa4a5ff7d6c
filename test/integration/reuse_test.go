package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// manyFiles makes a tree of files of 40 KB below folders of ten.
func manyFiles(t *testing.T, n int) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "site")
	for i := range n {
		_, data := payload(t, "x", 40_000+i)
		name := filepath.Join(tree, fmt.Sprintf("d%d", i/10), fmt.Sprintf("f%d", i))
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, data, 0o644))
	}
	return tree
}

// sameTree compares the files of two folders, with their times.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(want, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		n++
		rel, _ := filepath.Rel(want, p)
		a, err := os.ReadFile(p)
		must(t, err)
		b, err := os.ReadFile(filepath.Join(got, rel))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs (%v)", rel, err)
		}
		x, _ := os.Stat(p)
		y, err := os.Stat(filepath.Join(got, rel))
		if err != nil || x.ModTime().Unix() != y.ModTime().Unix() || x.Mode() != y.Mode() {
			t.Errorf("%s has another mode or time", rel)
		}
		return nil
	}))
	must(t, filepath.WalkDir(got+"/", func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			n--
		}
		return err
	}))
	if n != 0 {
		t.Errorf("%s has %d files less than %s", got, n, want)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	return st.Sys().(*syscall.Stat_t).Ino
}

// TestUnchangedFilesAreNotFetched: of a tree in which a folder was moved and a few
// files changed, seed and leaf fetch little; the old release stays as it was, also
// when both are told to link, and rollback leads back to it.
func TestUnchangedFilesAreNotFetched(t *testing.T) {
	for _, how := range []string{"link", "copy"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			master := newMaster(t)
			seed := newSeed(t, master, "", "-reuse="+how)
			leaf := newLeaf(t, seed, "-reuse="+how)
			tree := manyFiles(t, 100)
			master.publish("web", tree)
			both := []*member{seed, leaf}
			for _, m := range both {
				await(t, 30*time.Second, m.role+" has the first release", func() bool { return m.release("web", 1).State == "seeding" })
			}
			before := filepath.Join(t.TempDir(), "site")
			must(t, os.CopyFS(before, os.DirFS(filepath.Join(leaf.dir, "site")+"/")))
			old, err := filepath.EvalSymlinks(filepath.Join(leaf.dir, "site"))
			must(t, err)

			must(t, os.Rename(filepath.Join(tree, "d3"), filepath.Join(tree, "moved")))
			must(t, os.Remove(filepath.Join(tree, "d5", "f55")))
			_, data := payload(t, "x", 40_000)
			must(t, os.WriteFile(filepath.Join(tree, "d7", "f70"), data, 0o644))
			master.publish("web", tree)
			for _, m := range both {
				await(t, 30*time.Second, m.role+" has the second release", func() bool { return m.release("web", 2).State == "seeding" })
				r := m.release("web", 2)
				if got := r.FromPeers + r.FromMirrors; got == 0 || got > 400_000 || r.Reused < 3_800_000 {
					t.Errorf("%s fetched %d bytes of %d and took %d over", m.role, got, r.Size, r.Reused)
				}
				sameTree(t, filepath.Join(m.dir, "site"), tree)
			}
			live := filepath.Join(leaf.dir, "site")
			if linked := inode(t, filepath.Join(old, "d3", "f30")) == inode(t, filepath.Join(live, "moved", "f30")); linked != (how == "link") {
				t.Errorf("the two releases share a file: %v", linked)
			}
			for _, m := range both {
				if _, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
					t.Errorf("%s: verify: exit code %d\n%s", m.role, code, stderr)
				}
			}
			if _, stderr, code := run(t, bin, "rollback", "-local", "-dir="+leaf.dir, "-channel=web"); code != 0 {
				t.Fatalf("rollback: exit code %d\n%s", code, stderr)
			}
			for i := range 100 {
				p := filepath.Join(fmt.Sprintf("d%d", i/10), fmt.Sprintf("f%d", i))
				want, err := os.ReadFile(filepath.Join(before, p))
				must(t, err)
				if got, err := os.ReadFile(filepath.Join(live, p)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("after the rollback %s differs: %v", p, err)
				}
			}
		})
	}
}

// TestSupersededReleaseIsUsed publishes while the release before is on its way:
// what the seed had fetched of it need not come again.
func TestSupersededReleaseIsUsed(t *testing.T) {
	notShort(t)
	t.Parallel()
	for name, content := range map[string]func(t *testing.T) (path string, change func()){
		"tree": func(t *testing.T) (string, func()) {
			tree := manyFiles(t, 400)
			return tree, func() { must(t, os.WriteFile(filepath.Join(tree, "a"), []byte("in front of all others"), 0o644)) }
		},
		"file": func(t *testing.T) (string, func()) {
			path, data := payload(t, "site.tar", 16<<20)
			return path, func() { must(t, os.WriteFile(path, append(data, "more"...), 0o644)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, change := content(t)
			master := newMaster(t)
			link := newThrottle(t, master.addr+":8443", 2<<20)
			seed := newSeed(t, master, "https://"+link.addr, "-mirror-conns=4")
			leaf := newLeaf(t, seed)
			master.publish("web", path)
			middle(t, seed, "web", 1, 30, 90)
			change()
			master.publish("web", path)
			for _, m := range []*member{seed, leaf} {
				await(t, time.Minute, m.role+" has the second release", func() bool { return m.release("web", 2).State == "seeding" })
				if _, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
					t.Errorf("%s: verify: exit code %d\n%s", m.role, code, stderr)
				}
			}
			r := seed.release("web", 2)
			if r.Reused < r.Size/5 || r.FromMirrors > r.Size-r.Reused+r.Size/10 {
				t.Errorf("of %d bytes %d were there, and %d were fetched", r.Size, r.Reused, r.FromMirrors)
			}
		})
	}
}
