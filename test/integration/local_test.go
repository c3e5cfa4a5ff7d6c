package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
)

// ends runs a command line of distd that is to end with a code and a message on
// stderr that holds all the words.
func ends(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	stdout, stderr, got := run(t, append([]string{bin}, args...)...)
	if got != code {
		t.Errorf("%q: exit code %d, want %d\n%s", args, got, code, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("%q says %q, want %q", args, stderr, w)
		}
	}
	if stdout != "" {
		t.Errorf("%q prints %q on stdout", args, stdout)
	}
}

func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	addr := host(t)
	pid := strconv.Itoa(master.cmd.Process.Pid)
	again := []string{"-role=master", "-dir=" + master.dir, "-listen=" + addr + ":8443"}
	ends(t, node.ExTempFail, again, "is in use by another distd, process "+pid, "-dir")
	if _, err := master.status(); err != nil {
		t.Errorf("the first daemon no longer answers: %v", err)
	}
	path, _ := payload(t, "site.tar", 1000)
	master.publish("web", path)

	other := filepath.Join(t.TempDir(), "other")
	ends(t, node.ExUnavailable, []string{"-role=master", "-dir=" + other, "-listen=" + master.addr + ":8443"}, "address already in use", "-listen")
	seed := newSeed(t, master, "")
	leaf := []string{"-role=leaf", "-dir=" + other, "-seed=" + seed.url()}
	ends(t, node.ExUnavailable, append(leaf, "-peer-listen="+seed.addr+":6881"), "address already in use", "-peer-listen")
	ends(t, node.ExConfig, append(leaf, "-peer-listen=192.0.2.1:6881"), "cannot assign requested address", "-peer-listen")
	ends(t, node.ExConfig, append(leaf, "-hook="+filepath.Join(other, "missing.sh")), "missing.sh")
	expectEntries(t, other, ".distd")
}

// tmpfs mounts a file system of so many bytes, which is unmounted at the end.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("distd-test", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("cannot mount a tmpfs: %v", err)
		}
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// TestUnwritableFolder starts daemons on folders that they cannot write to.
func TestUnwritableFolder(t *testing.T) {
	t.Parallel()
	ends(t, node.ExCantCreat, []string{"-role=leaf", "-seed=http://127.0.0.1:1", "-dir=" + filepath.Join(bin, "below")}, "below", "not a directory")
	needRoot(t)
	ro := tmpfs(t, "size=1m")
	must(t, syscall.Mount("", ro, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	ends(t, node.ExCantCreat, []string{"-role=leaf", "-seed=http://127.0.0.1:1", "-dir=" + ro}, ro, "read-only", "choose another -dir")

	// Root may write anywhere: another user tries.
	dir, err := os.MkdirTemp("", "distd-unwritable-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	cmd := exec.Command(bin, "-role=leaf", "-seed=http://127.0.0.1:1", "-dir="+dir)
	cmd.Env, cmd.Dir = []string{"DISTD_CONFIG=/dev/null"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != node.ExNoPerm || !bytes.Contains(out, []byte("permission denied")) || !bytes.Contains(out, []byte("uid 65534")) {
		t.Errorf("a daemon on a folder of somebody else: %v, says %s", cmd.ProcessState, out)
	}
	expectEntries(t, dir)
}

// TestFullDisk fills the disks of all three: the publish fails whole, and the
// transfers wait and go on by themselves when there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const size, disk = 6 << 20, "size=16m"
	path, data := payload(t, "site.tar", size)
	full := tmpfs(t, disk)
	empty := fill(t, full, 2<<20)
	ends(t, node.ExIOErr, []string{"publish", "-dir=" + full, "-channel=web", path}, "no space left", "free some")
	expectEntries(t, filepath.Join(full, ".distd", "channels"))
	expectEntries(t, filepath.Join(full, ".distd", "releases"))
	empty()
	if _, stderr, code := run(t, bin, "publish", "-dir="+full, "-channel=web", path); code != 0 {
		t.Errorf("publish with space again: exit code %d\n%s", code, stderr)
	}

	master := newMaster(t)
	seed := &member{t: t, role: "seed", addr: host(t), dir: tmpfs(t, disk)}
	seed.args = []string{"-role=seed", "-master=" + master.url(), "-ca=" + master.ca(), "-dir=" + seed.dir, "-listen=" + seed.addr + ":6969", "-peer-listen=" + seed.addr + ":6881"}
	hook, runs := countingHook(t)
	leaf := &member{t: t, role: "leaf", addr: host(t), dir: tmpfs(t, disk)}
	leaf.args = []string{"-role=leaf", "-seed=" + seed.url(), "-dir=" + leaf.dir, "-peer-listen=" + leaf.addr + ":6881", "-hook=" + hook}
	for _, m := range []*member{seed, leaf} {
		m.restart()
	}
	emptySeed, emptyLeaf := fill(t, seed.dir, 0), fill(t, leaf.dir, 2<<20) // not even the manifest fits, or not the content
	master.publish("web", path)
	for _, c := range []struct {
		m     *member
		empty func()
	}{{seed, emptySeed}, {leaf, emptyLeaf}} {
		await(t, 20*time.Second, fmt.Sprintf("the disk of the %s is full", c.m.role), func() bool { return c.m.says("no space left") })
		if _, err := c.m.status(); err != nil {
			t.Errorf("the %s does not answer: %v", c.m.role, err)
		}
		if c.m == leaf {
			await(t, 10*time.Second, "the leaf's status says so", func() bool {
				return strings.Contains(leaf.release("web", 1).Problem, "no space left")
			})
		}
		expectEntries(t, c.m.dir, ".distd", "filler")
		c.empty()
		awaitFile(t, 40*time.Second, filepath.Join(c.m.dir, "site.tar"), data)
	}
	await(t, 5*time.Second, "the hook has run", func() bool { return len(runs()) == 1 })
}
