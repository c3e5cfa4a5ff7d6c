package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// asNobody says whether the test runs as a user whose rights end where modes say
// so. Where it does not it runs it again as one, in a process of its own.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("/dev/shm", "nobody")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	check(t, os.Chown(dir, nobody, nobody))
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1") // where the path is not open to all
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		t.Skip("cannot run as another user: ", err)
	}
	if err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	return false
}

// TestFoldersThatHideTheirContent: folders that their own user cannot look into, once
// they have their modes, do not keep a release from becoming complete.
func TestFoldersThatHideTheirContent(t *testing.T) {
	if !asNobody(t) {
		return
	}
	s := mustOpen(t, filepath.Join(t.TempDir(), "s"))
	f := makeFixture("web", "site", 1, map[string]string{
		"./": "", "none/": "", "none/a": "a", "none/sub/": "", "none/sub/deep/": "", "none/sub/deep/b": "b",
		"list/": "", "list/c": "c", "pass/": "", "pass/d": "d", "read/": "", "read/in/": "", "read/empty": "", "z": "z",
	})
	modes := map[string]uint32{"none": 0, "list": 0o600, "pass": 0o300, "read": 0o400}
	for i := range f.m.Dirs {
		if mode, ok := modes[f.m.Dirs[i].Path]; ok {
			f.m.Dirs[i].Mode = mode
		}
	}
	f.encode(t)
	r := complete(t, s, f)
	for p, mode := range modes {
		st, err := os.Lstat(filepath.Join(r.ContentRoot(), f.m.ContentPath(p)))
		check(t, err)
		if got := uint32(st.Mode().Perm()); got != mode {
			t.Errorf("%s has the mode %#o, should have %#o", p, got, mode)
		}
	}
	check(t, s.fs.purge(r.path)) // or who cleans up cannot
}
