package integration

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFetchFollow follows a torrent and a tree's metalink on a distd, which tells
// of each release: the interval is longer than the test.
func TestFetchFollow(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	hook, runs := countingHook(t)
	one, first := payload(t, "site.bin", 3<<20)
	master.publish("web", one)
	folder, files := tree(t, "folder", 200_000, 5)
	master.publish("tree", folder)
	dir := t.TempDir()
	follow := func(link string) *proc {
		return start(t, bin, "fetch", "-follow", "-follow-interval=1h", "-seed-ratio=0.0", "-log-level=debug", "-d="+dir, "-listen="+host(t)+":6881", "-ca="+master.ca(),
			"--on-bt-download-complete="+hook, master.url()+"/"+link)
	}
	torrent, metalink := follow("site.bin.torrent"), follow("folder.meta4")
	awaitFile(t, 30*time.Second, filepath.Join(dir, "site.bin"), first)
	awaitAll(t, 30*time.Second, dir, files)
	await(t, 20*time.Second, "both hooks have run", func() bool { return len(runs()) == 2 })

	two, second := payload(t, "site.bin", 2<<20+5)
	master.publish("web", two)
	awaitFile(t, 30*time.Second, filepath.Join(dir, "site.bin"), second)
	folder2, files2 := tree(t, "folder", 100_000, 7, 300_000)
	master.publish("tree", folder2)
	awaitAll(t, 30*time.Second, dir, files2)
	await(t, 20*time.Second, "all hooks have run", func() bool { return len(runs()) == 4 })
	for _, p := range []*proc{torrent, metalink} {
		p.stop(syscall.SIGTERM, 10*time.Second)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("ended by SIGTERM with exit code %d", code)
		}
	}
	// After a restart what is there is known, and no hook runs.
	follow("site.bin.torrent")
	three, third := payload(t, "site.bin", 1<<20)
	master.publish("web", three)
	awaitFile(t, 30*time.Second, filepath.Join(dir, "site.bin"), third)
	await(t, 20*time.Second, "the last hook has run", func() bool { return len(runs()) == 5 })
}
