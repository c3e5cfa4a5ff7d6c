package integration

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOwnerOfReleases: what nodes make live is the owner's of their configuration, on
// a seed that is root and on a leaf that is not, with the rights of the drop-in that
// the manual names. The second release shares the files of the first.
func TestOwnerOfReleases(t *testing.T) {
	needRoot(t)
	need(t, "setpriv")
	master := newMaster(t)
	seed := newSeed(t, master, "", "-reuse=link", "-owner=1234:5678")
	const caps = "-all,+chown,+fowner,+dac_override"
	leaf := &member{t: t, role: "leaf", addr: host(t), dir: filepath.Join(t.TempDir(), "leaf"),
		wrap: []string{"setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", "--inh-caps=" + caps, "--ambient-caps=" + caps, "--bounding-set=" + caps, "--no-new-privs"}}
	must(t, os.MkdirAll(leaf.dir, 0o755))
	must(t, os.Chown(leaf.dir, 4321, 4321))
	leaf.args = []string{"-role=leaf", "-seed=" + seed.url(), "-dir=" + leaf.dir, "-peer-listen=" + leaf.addr + ":6881", "-reuse=link", "-owner=1234:5678"}
	leaf.restart()
	tree := manyFiles(t, 12)
	must(t, os.Chmod(filepath.Join(tree, "d0/f3"), 0o600))
	must(t, os.Chmod(filepath.Join(tree, "d1"), 0o700))
	must(t, os.Symlink("d0/f3", filepath.Join(tree, "link")))
	must(t, os.Link(filepath.Join(tree, "d0/f4"), filepath.Join(tree, "name")))
	settled := func(serial uint64) {
		t.Helper()
		for _, m := range []*member{seed, leaf} {
			await(t, 30*time.Second, fmt.Sprintf("%s has release %d", m.role, serial), func() bool { return m.release("web", serial).State == "seeding" })
			live := filepath.Join(m.dir, "site")
			sameTree(t, live, tree)
			wantOwned(t, live)
			must(t, filepath.WalkDir(live+"/", func(p string, _ fs.DirEntry, err error) error {
				wantOwned(t, p)
				return err
			}))
			if _, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
				t.Errorf("%s: verify: exit code %d\n%s", m.role, code, stderr)
			}
		}
	}
	master.publish("web", tree)
	settled(1)
	old, err := filepath.EvalSymlinks(filepath.Join(leaf.dir, "site"))
	must(t, err)
	_, data := payload(t, "x", 1000)
	must(t, os.WriteFile(filepath.Join(tree, "new"), data, 0o644))
	master.publish("web", tree)
	settled(2)
	live := filepath.Join(leaf.dir, "site")
	if inode(t, filepath.Join(old, "d0/f5")) != inode(t, filepath.Join(live, "d0/f5")) {
		t.Error("a file of the right owner was copied")
	}
	// Somebody takes a file; old releases go, though their folders are another's.
	must(t, os.Lchown(filepath.Join(live, "d1/f10"), 0, 0))
	if stdout, _, code := run(t, bin, "verify", "-dir="+leaf.dir); code != 65 || !strings.Contains(stdout, "owner") {
		t.Errorf("verify: exit code %d\n%s", code, stdout)
	}
	if _, stderr, code := run(t, bin, "verify", "-repair", "-dir="+leaf.dir); code != 0 {
		t.Errorf("repair: exit code %d\n%s", code, stderr)
	}
	for n := range 3 {
		must(t, os.WriteFile(filepath.Join(tree, "new"), fmt.Append(data, n), 0o644))
		master.publish("web", tree)
		settled(uint64(3 + n))
	}
	await(t, 30*time.Second, "the first release has gone", func() bool { _, err := os.Stat(old); return os.IsNotExist(err) })
}

func wantOwned(t *testing.T, p string) {
	t.Helper()
	st, err := os.Lstat(strings.TrimSuffix(p, "/"))
	must(t, err)
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 1234 || sys.Gid != 5678 {
		t.Errorf("%s belongs to %d:%d", p, sys.Uid, sys.Gid)
	}
}

// TestOwnerThatCannotBe: a start without the rights, or with a name that is none,
// ends at once and for good, and says what is missing.
func TestOwnerThatCannotBe(t *testing.T) {
	needRoot(t)
	need(t, "setpriv")
	dir := t.TempDir()
	leaf := []string{bin, "-role=leaf", "-seed=http://127.0.0.1:1", "-listen=", "-peer-listen=127.0.0.1:0", "-dir=" + dir}
	without := append([]string{"setpriv", "--bounding-set=-chown"}, leaf...)
	for _, c := range []struct {
		argv []string
		want string
	}{
		{append(without, "-owner=1234"), "CAP_CHOWN"},
		{append(leaf, "-owner=nobody-of-that-name"), `no user "nobody-of-that-name"`},
		{[]string{bin, "check-config", "-role=leaf", "-seed=http://127.0.0.1:1", "-owner=:none-of-that-name"}, `no group "none-of-that-name"`},
	} {
		if _, stderr, code := run(t, c.argv...); code != 78 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d, want 78 and %s\n%s", c.argv, code, c.want, stderr)
		}
	}
}
