package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Tests of what only a real system shows. Some need root; in CI (CI=true) it is
// an error when they cannot run.

func needs(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("cannot run here: %s: %v", what, err)
	}
	t.Skipf("skipped: %s: %v", what, err)
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		needs(t, "needs root", errors.New("not root"))
	}
}

// mounted returns a small file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	needsRoot(t)
	dir := t.TempDir()
	needs(t, "mount a tmpfs", syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// child runs a test of this binary in a process of its own, as the user.
func child(t *testing.T, test string, uid uint32, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return cmd
}

func TestLockNamesTheOther(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	_, err := Open(dir, nil)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	check(t, s.Close())
	check(t, mustOpen(t, dir).Close())
	check(t, os.Truncate(filepath.Join(dir, lockFile), 0))
	s = mustOpen(t, dir)
	check(t, os.Truncate(filepath.Join(dir, lockFile), 0)) // a number that could not be written
	if _, err := Open(dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v", err)
	}
	check(t, s.Close())
}

func TestFolderThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, ".distd"), nil, 0o600))
	for d, want := range map[string]string{file: "not a directory", filepath.Join(file, "below"): "not a directory", dir: "move it away", "/proc/nothing": "no such file"} {
		s, err := Open(d, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", d, err, want)
		}
		if err == nil {
			check(t, s.Close())
		}
	}
	outside := t.TempDir()
	check(t, os.Symlink(t.TempDir(), filepath.Join(outside, ".distd")))
	if _, err := Open(outside, nil); err == nil || !strings.Contains(err.Error(), "symlink leads out") {
		t.Errorf("error %v", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mounted(t, "size=4m")
	s := mustOpen(t, dir)
	f, g := iso(1, "x"), iso(2, "y")
	publish(t, s, f)
	complete(t, s, g)
	// Not while files are open for writing, which the lock and the state are.
	check(t, s.Close())
	needs(t, "remount read-only", syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err := Open(dir, nil)
	if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "remount") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	if _, err := Open(filepath.Join(dir, "new"), nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("new folder: %v", err)
	}
	check(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""))
	s = mustOpen(t, dir)
	wantLive(t, s, f)
	_, err = s.Activate(t.Context(), g.id)
	check(t, err)
	wantLive(t, s, g)
	check(t, s.Close())
}

func TestFullFileSystem(t *testing.T) {
	dir := mounted(t, "size=1m")
	s := mustOpen(t, dir)
	one, two := iso(1, "one"), tree(1, "two")
	publish(t, s, one)
	next := iso(2, "next")
	r, err := s.Stage(next.m, next.id, next.meta)
	check(t, err)
	check(t, next.fetch(r))
	fill := filepath.Join(dir, "fill")
	check(t, fillUp(fill))
	// Each step says so, and changes nothing that is live.
	_, err = s.Stage(two.m, two.id, two.meta)
	wantFull(t, "stage", err)
	_, err = s.Commit(t.Context(), next.id) // needs no space
	check(t, err)
	check(t, fillUp(fill))
	data, sig, p := next.pointer()
	wantFull(t, "pointer", s.SetPointer("iso", data, sig, p))
	if n := s.HighestSerial("iso"); n != 1 {
		t.Errorf("highest serial %d: the pointer was refused and set", n)
	}
	check(t, fillUp(fill))
	_, err = s.Activate(t.Context(), next.id, WithHook())
	wantFull(t, "activate", err)
	wantLive(t, s, one)
	// A restart works on a full disk.
	check(t, s.Close())
	s = mustOpen(t, dir)
	wantLive(t, s, one)
	wantSound(t, s, one.id)
	// With space it goes on from where it was.
	check(t, os.Remove(fill))
	publish(t, s, next, WithHook())
	publish(t, s, two)
	wantLive(t, s, next)
	wantLive(t, s, two)
	check(t, s.Close())
}

func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("%s: error %v, want one about a full disk", what, err)
	}
}

// fillUp takes all space that is left.
func fillUp(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for b := bytes.Repeat([]byte("x"), 4096); err == nil; {
		_, err = f.Write(b)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return f.Close()
}

// TestAsAnotherUser runs what root cannot show as a user without rights: a
// folder that is not writable, and content whose modes forbid its owner things.
func TestAsAnotherUser(t *testing.T) {
	dir := os.Getenv("STORE_TEST_USER_DIR")
	if dir == "" {
		needsRoot(t)
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("store-user-%d", os.Getpid()))
		check(t, os.Mkdir(dir, 0o755))
		defer func() { _ = os.RemoveAll(dir) }()
		const nobody = 65534
		for name, owner := range map[string]int{"own": nobody, "roots": 0} {
			check(t, os.Mkdir(filepath.Join(dir, name), 0o755))
			check(t, os.Chown(filepath.Join(dir, name), owner, owner))
		}
		binary, err := os.ReadFile(os.Args[0])
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "test"), binary, 0o755)) // where others can reach it
		cmd := child(t, t.Name(), nobody, "STORE_TEST_USER_DIR="+dir, "TMPDIR="+filepath.Join(dir, "own"))
		cmd.Path, cmd.Dir = filepath.Join(dir, "test"), dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	_, err := Open(filepath.Join(dir, "roots"), nil)
	if !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "uid 65534") || !strings.Contains(err.Error(), "chown") {
		t.Errorf("error %v", err)
	}
	s := mustOpen(t, filepath.Join(dir, "own"))
	f := tree(1, "x")
	for i := range f.m.Files {
		f.m.Files[i].Mode &= 0 // of a symlink it is 0 anyway
	}
	for i := range f.m.Dirs {
		f.m.Dirs[i].Mode = 0o555
	}
	data, err := f.m.Encode()
	check(t, err)
	f.meta.Manifest, f.id = data, idOf(data)
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	check(t, f.fetch(r))
	// The first commit fails late, so that the second finds everything closed.
	s.fs.step = func(o op) error {
		if o.kind == "rename" {
			return errInjected
		}
		return nil
	}
	if _, err := s.Commit(t.Context(), f.id); !errors.Is(err, errInjected) {
		t.Errorf("error %v", err)
	}
	s.fs.step = nil
	if _, err := s.Commit(t.Context(), f.id); err != nil {
		t.Errorf("commit of closed content: %v", err)
	}
	problems, err := s.Verify(t.Context(), f.id, nil)
	check(t, err)
	for _, p := range problems {
		if p.Kind != ProblemRead {
			t.Errorf("problem %v", p)
		}
	}
	if len(problems) == 0 {
		t.Error("files that cannot be read were verified")
	}
	g := makeFixture("web", "site", 2, map[string]string{"a": "a"})
	h := makeFixture("web", "site", 3, map[string]string{"a": "b"})
	i := makeFixture("web", "site", 4, map[string]string{"a": "c"})
	for _, f := range []*fixture{g, h, i} {
		publish(t, s, f)
	}
	if _, err := s.Prune(t.Context(), 1, nil); err != nil {
		t.Error(err)
	}
	if l := list(t, filepath.Join(s.Dir(), trashDir)); len(l) > 0 || len(s.Releases()) != 2 {
		t.Errorf("closed folders are not removed: %v, %d releases", l, len(s.Releases()))
	}
}

// TestKilledProcess kills a real process at random times, and looks at what it
// leaves.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_KILL_DIR"); dir != "" { // the process
		for n := uint64(1); ; n++ {
			s, err := Open(dir, nil)
			check(t, err)
			next := s.HighestSerial("web") + 1
			publish(t, s, tree(next, strings.Repeat("k", int(next%50)+1)), WithHook())
			for _, p := range s.PendingHooks() {
				_, err := s.HookStart(p.ID)
				check(t, errors.Join(err, s.HookDone(p.ID, "ok")))
			}
			_, err = s.Prune(context.Background(), 2, nil)
			check(t, errors.Join(err, s.Close()))
		}
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	var serial uint64
	// On a slow machine a process does nothing in the time of a round: the rounds grow
	// longer then, until some releases have come to be.
	for i := 0; i < rounds || serial < 3 && i < 10*rounds; i++ {
		cmd := child(t, t.Name(), 0, "STORE_TEST_KILL_DIR="+dir)
		check(t, cmd.Start())
		time.Sleep(time.Duration((50+random.IntN(200))*(1+i/rounds)) * time.Millisecond)
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
		s := mustOpen(t, dir)
		if n := s.HighestSerial("web"); n < serial {
			t.Errorf("serial went from %d to %d", serial, n)
		} else {
			serial = n
		}
		if id, ok := s.Live("web"); ok {
			r, err := s.Release(id)
			check(t, err)
			n := r.Manifest.Serial
			wantLive(t, s, tree(n, strings.Repeat("k", int(n%50)+1)))
		}
		for _, r := range s.Releases() {
			if r.Complete {
				wantSound(t, s, r.ID)
			}
		}
		check(t, s.Close())
	}
	if serial < 3 {
		t.Errorf("only %d releases came to be", serial)
	}
}
