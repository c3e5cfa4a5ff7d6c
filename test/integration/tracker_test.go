package integration

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"distd/pkg/torrentfile"
)

// TestTrackerRemembers: a seed's tracker learns at once that a leaf has become
// a seed, and knows its peers after a restart, also one that does not announce.
func TestTrackerRemembers(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	leaf := newLeaf(t, seed)
	path, data := payload(t, "x.bin", 200_000)
	master.publish("web", path)
	awaitFile(t, 30*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
	tor, err := torrentfile.Parse(httpGet(t, nil, seed.url()+"/x.bin.torrent"))
	must(t, err)
	await(t, 10*time.Second, "the tracker knows two seeds", func() bool {
		seeds, leeches := scraped(t, seed.url(), tor)
		return seeds == 2 && leeches == 0
	})
	leaf.kill9()
	seed.stop(syscall.SIGTERM, 10*time.Second)
	seed.restart()
	await(t, 10*time.Second, "the tracker knows them after a restart", func() bool {
		seeds, _ := scraped(t, seed.url(), tor)
		return seeds == 2
	})
}
