package integration

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSwarmOutlivesSeed has distd, aria2c, libtorrent and transmission fetch one
// release together. The seed ends when distd's leaf has all of it and the others
// have some, so that these get the rest from each other.
func TestSwarmOutlivesSeed(t *testing.T) {
	t.Parallel()
	for _, c := range foreign {
		if c.name != "libtorrent" {
			need(t, map[string]string{"aria2c": "aria2c", "transmission": "transmission-daemon"}[c.name])
		}
	}
	needLibtorrent(t)
	master := newMaster(t)
	seed := newSeed(t, master, "")
	path, data := payload(t, "site.bin", 2<<20+1)
	master.publish("web", path)
	awaitFile(t, 60*time.Second, filepath.Join(seed.dir, "site.bin"), data)
	file, tor := peersAlone(t, httpGet(t, nil, seed.url()+"/site.bin.torrent"))

	// Transmission first: it waits to be found by the others.
	dirs := map[string]string{}
	for i, name := range []string{"transmission", "libtorrent", "aria2c"} {
		for _, c := range foreign {
			if c.name == name {
				dirs[name] = t.TempDir()
				c.start(t, task{torrent: file, dir: dirs[name], rate: 120_000})
			}
		}
		await(t, 90*time.Second, "the tracker knows "+name, func() bool { _, n := scraped(t, seed.url(), tor); return n == i+1 })
	}
	leaf := newLeaf(t, seed)
	awaitFile(t, 90*time.Second, filepath.Join(leaf.dir, "site.bin"), data)
	for name, dir := range dirs {
		await(t, 60*time.Second, name+" has begun", func() bool { return holds(filepath.Join(dir, "site.bin"), data) > len(data)/50 })
	}
	for name, dir := range dirs {
		if n := holds(filepath.Join(dir, "site.bin"), data); n == len(data) {
			t.Errorf("%s has it all before the seed ends, which shows nothing", name)
		}
	}
	seed.stop(syscall.SIGTERM, 10*time.Second)
	for _, dir := range dirs {
		awaitFile(t, 120*time.Second, filepath.Join(dir, "site.bin"), data)
	}
	if r := leaf.release("web", 1); r.Uploaded == 0 {
		t.Error("the leaf has sent nothing to the others")
	}
}
