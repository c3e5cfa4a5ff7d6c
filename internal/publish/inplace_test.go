package publish

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func inodeOf(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestInPlace(t *testing.T) {
	b := newBench(t)
	top := b.mkdir("tree")
	b.write("tree/a/big", noise(1, 3<<20))
	b.write("tree/b", noise(2, 10))
	b.write("tree/empty", nil)
	b.symlink("b", "tree/link")
	if err := os.Link(filepath.Join(top, "b"), filepath.Join(top, "c")); err != nil {
		t.Fatal(err)
	}
	odd := time.Unix(1700000000, 123456789)
	if err := os.Chtimes(filepath.Join(top, "b"), odd, odd); err != nil {
		t.Fatal(err)
	}
	res := b.publish(Options{Path: top, InPlace: true})
	if res.Method != InPlace {
		t.Errorf("method %q", res.Method)
	}
	for _, f := range []string{"a/big", "b", "c"} {
		if inodeOf(t, filepath.Join(top, f)) != inodeOf(t, filepath.Join(res.Dir, "content/tree", f)) {
			t.Errorf("%s was copied", f)
		}
	}
	if again := b.publish(Options{Path: top, InPlace: true}); !again.Unchanged {
		t.Errorf("result %+v", again)
	}
	b.check(res, Options{Path: top})
	// A file that is replaced, as rsync does it, leaves the release alone.
	if err := os.Rename(b.write("new", noise(3, 10)), filepath.Join(top, "b")); err != nil {
		t.Fatal(err)
	}
	b.checkAgain(res)
}

// checkAgain hashes the published bytes again.
func (b *bench) checkAgain(res *Result) {
	b.Helper()
	problems, err := b.st.Verify(b.Context(), res.ID, nil)
	if err != nil || len(problems) > 0 {
		b.Errorf("verify: %v, %v", problems, err)
	}
}

func TestInPlaceRefused(t *testing.T) {
	b := newBench(t)
	file := b.write("f", noise(1, 10))
	if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	b.refused(Options{Path: file, InPlace: true}, "set-ID")
	if st, err := os.Stat(file); err != nil || st.Mode()&os.ModeSetuid == 0 {
		t.Errorf("mode of the source is %v now, %v", st.Mode(), err)
	}
	b.src = tmpfs(t, "size=1m")
	err := b.refused(Options{Path: b.write("f", noise(1, 10)), InPlace: true}, "file system", "without -in-place")
	if errors.Is(err, ErrSourceChanged) {
		t.Error(err)
	}
}

// TestCopyLeavesSourceAlone publishes with set-ID bits and odd times, which a
// release does not have.
func TestCopyLeavesSourceAlone(t *testing.T) {
	b := newBench(t)
	top := b.mkdir("tree")
	file := b.write("tree/f", noise(1, 10))
	if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o755|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	odd := time.Unix(1700000000, 123456789)
	if err := os.Chtimes(file, odd, odd); err != nil {
		t.Fatal(err)
	}
	before := list(t, top)
	res, err := b.try(t.Context(), Options{Path: top})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || !st.ModTime().Equal(odd) || list(t, top)["f"] != before["f"] {
		t.Errorf("the source was changed: %v, %v", st, err)
	}
	if st, err := os.Stat(filepath.Join(res.Dir, "content/tree/f")); err != nil || st.Mode() != 0o755 {
		t.Errorf("published with mode %v, %v", st.Mode(), err)
	}
}

// reflinks mounts a file system that shares blocks between files.
func reflinks(t *testing.T) string {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 400<<20); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v %s", strings.Join(cmd, " "), err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestReflink(t *testing.T) {
	b := newBench(t)
	dir := reflinks(t)
	b.st = b.open(filepath.Join(dir, "store"))
	b.src = filepath.Join(dir, "src")
	top := b.mkdir("tree")
	b.write("tree/a/big", noise(1, 3<<20+1))
	b.write("tree/b", noise(2, 10))
	b.write("tree/empty", nil)
	res := b.publish(Options{Path: top})
	if res.Method != Reflink {
		t.Fatalf("method %q", res.Method)
	}
	b.write("tree/a/big", noise(3, 3<<20+1))
	b.checkAgain(res)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	// A sparse file that fits only once is published all the same.
	if err := os.WriteFile(filepath.Join(top, "huge"), noise(4, int(st.Bavail)*int(st.Bsize)/3*2), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := b.publish(Options{Path: top}); res.Method != Reflink {
		t.Errorf("method %q", res.Method)
	}
	b.src = t.TempDir()
	if res := b.publish(Options{Path: b.write("f", noise(1, 10))}); res.Method != Copy {
		t.Errorf("method %q from another file system", res.Method)
	}
}

// TestUnreadable runs as a user who cannot read everything.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	b := newBench(t)
	top := b.mkdir("tree")
	for _, p := range []string{b.write("tree/secret", nil), b.mkdir("tree/closed")} {
		if err := os.Chmod(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.refused(Options{Path: top}, "secret: permission denied", "closed: permission denied")
	if err := os.Chmod(filepath.Join(top, "closed"), 0o700); err != nil {
		t.Fatal(err) // so that it can be removed
	}
	b.refused(Options{Path: "/etc/hostname", InPlace: true, Name: "x"}, "in-place")
}

// asNobody runs the test again as a user without rights.
func asNobody(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "publish-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "test")
	if err := os.WriteFile(bin, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}
