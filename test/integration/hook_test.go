package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scriptedHook makes a hook of the given shell lines. Each run is noted first,
// as "SERIAL ATTEMPT".
func scriptedHook(t *testing.T, lines string) (path string, runs func() []string) {
	t.Helper()
	dir := t.TempDir()
	path, log := filepath.Join(dir, "hook.sh"), filepath.Join(dir, "runs")
	must(t, os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho \"$DISTD_SERIAL $DISTD_ATTEMPT\" >> '%s'\n%s\n", log, lines), 0o755))
	return path, func() []string {
		b, err := os.ReadFile(log)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// TestHookOutcomes: 75 has the hook run again, another code marks the release
// and, with rollback, brings the previous one back, also over a restart.
func TestHookOutcomes(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	again, againRuns := scriptedHook(t, `[ "$DISTD_ATTEMPT" = 2 ] || exit 75`)
	fails, failRuns := scriptedHook(t, `[ "$DISTD_SERIAL" = 1 ]`)
	retrying := newLeaf(t, seed, "-hook="+again)
	failing := newLeaf(t, seed, "-hook="+fails, "-on-hook-failure=rollback")

	path, first := payload(t, "x.bin", 300_000)
	master.publish("web", path)
	await(t, 20*time.Second, "the hook that asks for it has run twice", func() bool {
		return retrying.release("web", 1).HookOutcome == "done" && failing.release("web", 1).HookOutcome == "done"
	})
	if runs := againRuns(); !slices.Equal(runs, []string{"1 1", "1 2"}) {
		t.Errorf("runs of the hook that exits with 75 at first: %q", runs)
	}

	second := append([]byte("2"), first...)
	must(t, os.WriteFile(path, second, 0o644))
	master.publish("web", path)
	awaitFile(t, 20*time.Second, filepath.Join(retrying.dir, "x.bin"), second)
	await(t, 20*time.Second, "the failed hook is known", func() bool {
		return strings.HasPrefix(failing.release("web", 2).HookOutcome, "failed")
	})
	awaitFile(t, 10*time.Second, filepath.Join(failing.dir, "x.bin"), first)
	failing.kill9()
	failing.restart()
	await(t, 10*time.Second, "the leaf seeds again", func() bool { return failing.release("web", 2).State == "seeding" })
	awaitFile(t, time.Second, filepath.Join(failing.dir, "x.bin"), first)
	if runs := failRuns(); !slices.Equal(runs, []string{"1 1", "2 1"}) {
		t.Errorf("runs of the failing hook: %q", runs)
	}
	third := append([]byte("3"), first...)
	must(t, os.WriteFile(path, third, 0o644))
	master.publish("web", path)
	// What comes after a rollback is given its chance, and rolled back as well:
	// to the release that was live before.
	await(t, 20*time.Second, "the third release was tried", func() bool {
		return strings.HasPrefix(failing.release("web", 3).HookOutcome, "failed")
	})
	awaitFile(t, 10*time.Second, filepath.Join(failing.dir, "x.bin"), first)
}

// TestNewerReleaseOvertakesARetry: a hook that keeps asking to be run again
// does not hold up the next release.
func TestNewerReleaseOvertakesARetry(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	hook, runs := scriptedHook(t, `[ "$DISTD_SERIAL" = 2 ] || exit 75`)
	leaf := newLeaf(t, seed, "-hook="+hook)
	path, data := payload(t, "x.bin", 100_000)
	master.publish("web", path)
	await(t, 20*time.Second, "the hook has run", func() bool { return len(runs()) > 0 })
	data = append(data, '2')
	must(t, os.WriteFile(path, data, 0o644))
	master.publish("web", path)
	awaitFile(t, 15*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
	await(t, 10*time.Second, "the second hook is done", func() bool { return leaf.release("web", 2).HookOutcome == "done" })
	if out := leaf.release("web", 1).HookOutcome; !strings.Contains(out, "newer release") {
		t.Errorf("outcome of the overtaken hook: %q", out)
	}
}

// TestHooksKeepTheirOrder kills a leaf while the hook of a release runs and a
// newer one is complete: at the start the older hook is run again before the
// newer release becomes live.
func TestHooksKeepTheirOrder(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	dir := t.TempDir()
	log, hook := filepath.Join(dir, "log"), filepath.Join(dir, "hook.sh")
	script := fmt.Sprintf("#!/bin/sh\necho \"$DISTD_SERIAL $DISTD_ATTEMPT $(wc -c < \"$DISTD_DIR\")\" >> '%s'\n"+
		"[ $DISTD_SERIAL$DISTD_ATTEMPT = 1$(cat '%s/slow') ] && sleep 60\nexit 0\n", log, dir)
	must(t, os.WriteFile(hook, []byte(script), 0o755))
	leaf := newLeaf(t, seed, "-hook="+hook)
	lines := func() string {
		b, _ := os.ReadFile(log)
		return strings.Join(strings.Split(strings.TrimSpace(string(b)), "\n"), ", ")
	}
	path, _ := payload(t, "x.bin", 1000)
	want := "1 1 1000"
	must(t, os.WriteFile(filepath.Join(dir, "slow"), []byte("1"), 0o644))
	master.publish("web", path)
	await(t, 20*time.Second, "the hook runs", func() bool { return lines() == want })
	must(t, os.WriteFile(path, make([]byte, 2000), 0o644))
	second := master.publish("web", path)
	await(t, 20*time.Second, "the second release is complete", func() bool {
		_, err := os.Stat(filepath.Join(leaf.dir, ".distd", "releases", second.ID))
		return err == nil
	})
	// Which job comes first after a start is a matter of luck: try some.
	const crashes = 8
	for i := 2; i <= crashes+1; i++ {
		leaf.kill9()
		if i > crashes {
			must(t, os.WriteFile(filepath.Join(dir, "slow"), []byte("none"), 0o644))
		} else {
			must(t, os.WriteFile(filepath.Join(dir, "slow"), []byte(strconv.Itoa(i)), 0o644))
		}
		leaf.restart()
		want += fmt.Sprintf(", 1 %d 1000", i)
		if i > crashes {
			want += ", 2 1 2000"
		}
		await(t, 20*time.Second, "the hook runs again", func() bool { return len(lines()) >= len(want) })
		if got := lines(); got != want {
			t.Fatalf("hook runs %q, want %q (serial, attempt, size of what is live)", got, want)
		}
	}
}
