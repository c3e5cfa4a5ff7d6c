package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script writes an executable shell script and returns its path.
func script(t *testing.T, body string) string {
	t.Helper()
	return write(t, "hook.sh", "#!/bin/sh\n"+body+"\n", 0o755)
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	// A fork elsewhere in the test that inherits a writable descriptor would
	// make the exec fail with ETXTBSY.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, j Job) Result {
	t.Helper()
	r, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestArgumentsAndEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("DISTD_SERIAL", "overridden")
	t.Setenv("KEPT", "yes")
	dir := t.TempDir()
	j := Job{
		Command: script(t, `echo "$#|$1|$2|$3|$DISTD_CHANNEL|$DISTD_SERIAL|$DISTD_ATTEMPT|$KEPT|${NOTIFY_SOCKET-unset}|$(pwd)"; cat`),
		GID:     "0123456789abcdef", NumFiles: 3, FirstPath: "/srv/a b/$(c)",
		Env: Release{Channel: "web", Serial: 7, Attempt: 2}.Env(), Dir: dir,
	}
	r := run(t, j)
	want := "3|0123456789abcdef|3|/srv/a b/$(c)|web|7|2|yes|unset|" + dir
	if r.Output != want || !r.OK() {
		t.Errorf("hook saw %q, want %q; result %+v", r.Output, want, r)
	}
}

func TestEnvironReplacesOnce(t *testing.T) {
	got := environ([]string{"A=1", "B=2", "A=3", "LISTEN_FDS=1"}, map[string]string{"A": "x", "C": ""})
	if want := "[B=2 A=x C=]"; fmt.Sprint(got) != want {
		t.Errorf("environment is %v, want %s", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		body  string
		code  int
		retry bool
		text  string
	}{
		{"exit 0", 0, false, "ok"},
		{"exit 3", 3, false, "exit code 3"},
		{"exit 75", 75, true, "wants to run again"},
		{"kill -USR1 $$", 128 + int(syscall.SIGUSR1), false, "signal"},
	} {
		r := run(t, Job{Command: script(t, c.body)})
		if r.Code != c.code || r.Retry != c.retry || r.TimedOut || !strings.Contains(r.String(), c.text) {
			t.Errorf("%s: %+v (%s), want code %d, retry %v, %q", c.body, r, r, c.code, c.retry, c.text)
		}
	}
}

func TestNoInterpreterLineRunsAsWithExeclp(t *testing.T) {
	p := write(t, "plain.sh", "echo plain $2\n", 0o755)
	if r := run(t, Job{Command: p, NumFiles: 4}); r.Output != "plain 4" {
		t.Errorf("output %q", r.Output)
	}
}

func TestSearchedInPath(t *testing.T) {
	p := script(t, "echo found")
	t.Setenv("PATH", filepath.Dir(p)+":"+os.Getenv("PATH"))
	if r := run(t, Job{Command: filepath.Base(p), Dir: "/"}); r.Output != "found" {
		t.Errorf("output %q", r.Output)
	}
}

// alive says whether the process that wrote its number into the file runs.
func alive(t *testing.T, pidFile string) bool {
	t.Helper()
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestTimeoutEndsTheWholeGroup(t *testing.T) {
	for _, c := range []struct {
		name, body string
		code       int
	}{
		{"obeys TERM", "", 128 + int(syscall.SIGTERM)},
		{"ignores TERM", "trap '' TERM", 128 + int(syscall.SIGKILL)},
		{"answers TERM", "trap 'exit 75' TERM", 75},
	} {
		t.Run(c.name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			body := c.body + "\n(trap '' TERM; exec sleep 100) & echo $! >" + pidFile + "\nwait; sleep 100"
			r := run(t, Job{Command: script(t, body), Timeout: 300 * time.Millisecond, Grace: 200 * time.Millisecond})
			if !r.TimedOut || r.Retry || r.OK() || r.Code != c.code {
				t.Errorf("result %+v, want timed out with code %d", r, c.code)
			}
			if r.Duration > 10*time.Second {
				t.Errorf("took %v", r.Duration)
			}
			waitGone(t, pidFile)
		})
	}
}

// waitGone waits for a process that was killed to be gone; init reaps it.
func waitGone(t *testing.T, pidFile string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); alive(t, pidFile); {
		if time.Now().After(deadline) {
			t.Fatal("a process of the hook's group is still running")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestContextEndsTheHook(t *testing.T) {
	for _, trap := range []string{"", "trap 'exit 1' TERM"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stopping")
		started := filepath.Join(t.TempDir(), "started")
		done := make(chan error, 1)
		go func() {
			_, err := Run(ctx, Job{Command: script(t, trap+"\n: >"+started+"\nsleep 100 & wait"), Grace: time.Second})
			done <- err
		}()
		for {
			if _, err := os.Stat(started); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("trap %q: error %v, want the context's cause: the run does not count", trap, err)
		}
	}
}

func TestContextEndedBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mark := filepath.Join(t.TempDir(), "ran")
	if _, err := Run(ctx, Job{Command: script(t, ": >"+mark)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the hook ran")
	}
}

func TestFinishedHookCountsThoughContextEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, Job{Command: script(t, "trap 'exit 0' TERM\nsleep 100 & wait"), Grace: time.Second})
	if err != nil || r.Code != 0 {
		t.Errorf("result %+v, error %v: the hook said that it is done", r, err)
	}
}

func TestChildThatHoldsThePipe(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := run(t, Job{Command: script(t, "sleep 100 & echo $! >"+pidFile+"; echo done"), Log: zap.New(core)})
	if r.Code != 0 || r.Output != "done" || r.Duration > 20*time.Second {
		t.Errorf("result %+v", r)
	}
	if logs.FilterMessageSnippet("held its output open").Len() != 1 {
		t.Error("no warning about the output that is held open")
	}
	if !alive(t, pidFile) {
		t.Error("what a hook leaves running after a good end was killed")
	}
	b, _ := os.ReadFile(pidFile)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestOutputIsBounded(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r := run(t, Job{Command: script(t, `head -c 3000000 /dev/zero | tr '\0' x; echo; yes 'a line' | head -n 100000; printf 'last\033[2J\377'`), Log: zap.New(core)})
	lines := logs.FilterMessage("hook: output")
	if n := lines.Len(); n != maxLines {
		t.Errorf("%d lines logged, want %d", n, maxLines)
	}
	if first := lines.All()[0].ContextMap()["line"].(string); len(first) > maxLine+10 || !strings.HasSuffix(first, " [...]") {
		t.Errorf("first line has %d bytes and ends in %q", len(first), first[max(0, len(first)-10):])
	}
	if logs.FilterMessageSnippet("too long").Len() != 1 {
		t.Error("nothing says that lines were left out")
	}
	if !strings.HasSuffix(r.Output, "a line\nlast.[2J\uFFFD") || len(r.Output) > maxTail+8 {
		t.Errorf("tail of %d bytes ends in %q", len(r.Output), r.Output[max(0, len(r.Output)-30):])
	}
}

func TestLineLogAcrossWrites(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	w := newLineLog(zap.New(core))
	for _, p := range []string{"a", "b\nc", "\n", "\n", "d\r\ne"} {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	var got []string
	for _, e := range logs.All() {
		got = append(got, e.ContextMap()["line"].(string))
	}
	if want := []string{"ab", "c", "", "d", "e"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	ok := script(t, "exit 0")
	for _, c := range []struct{ name, command, want string }{
		{"empty", "", "no command"},
		{"not in PATH", "nextsteps.sh", "not found in $PATH (PATH is " + dir},
		{"missing", filepath.Join(dir, "gone"), "no such file"},
		{"a command line", ok + " -v", "without arguments"},
		{"a folder", dir, "not a folder"},
		{"not executable", write(t, "h.sh", "#!/bin/sh\n", 0o644), "chmod +x"},
		{"interpreter missing", write(t, "h.sh", "#!/no/such/python3 -u\n", 0o755), "interpreter /no/such/python3"},
		{"DOS lines", write(t, "h.sh", "#!/bin/sh\r\necho\r\n", 0o755), "dos2unix"},
	} {
		err := Check(c.command)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if _, rerr := Run(t.Context(), Job{Command: c.command}); rerr == nil {
			t.Errorf("%s: Run started it", c.name)
		}
	}
	for _, command := range []string{ok, write(t, "empty", "", 0o755), write(t, "env", "#!/usr/bin/env sh\n", 0o755), write(t, "bare", "#!\n", 0o755)} {
		if err := Check(command); err != nil {
			t.Errorf("%s refused: %v", command, err)
		}
	}
}

func TestCheckRefusesRelativePathFolder(t *testing.T) {
	p := script(t, "exit 0")
	t.Chdir(filepath.Dir(p))
	t.Setenv("PATH", ".")
	if err := Check(filepath.Base(p)); err == nil || !strings.Contains(err.Error(), "full path") {
		t.Errorf("error %v", err)
	}
	if err := Check("./" + filepath.Base(p)); err != nil {
		t.Errorf("a relative path was refused: %v", err)
	}
}

func TestGID(t *testing.T) {
	id := strings.Repeat("AB", 32)
	if g := GID(id); g != strings.Repeat("ab", 8) {
		t.Errorf("GID %q", g)
	}
	for _, id := range []string{"", "short", "not hexadecimal at all"} {
		if g := GID(id); len(g) != 16 || g != GID(id) || bytes.ContainsAny([]byte(g), "ghijklmnopqrstuvwxyz ") {
			t.Errorf("GID(%q) is %q", id, g)
		}
	}
}

// TestHookEndsWithTheDaemon kills a process that runs a hook, as kill -9 of the
// daemon does: the hook must not run on beside its second attempt.
func TestHookEndsWithTheDaemon(t *testing.T) {
	pidFile := os.Getenv("HOOK_TEST_PIDFILE")
	if pidFile != "" { // the daemon's part
		_, _ = Run(context.Background(), Job{Command: os.Getenv("HOOK_TEST_SCRIPT")})
		return
	}
	pidFile = filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHookEndsWithTheDaemon$")
	cmd.Env = append(os.Environ(), "HOOK_TEST_PIDFILE="+pidFile, "HOOK_TEST_SCRIPT="+script(t, "echo $$ >"+pidFile+".new; mv "+pidFile+".new "+pidFile+"; exec sleep 100"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(pidFile); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitGone(t, pidFile)
}
