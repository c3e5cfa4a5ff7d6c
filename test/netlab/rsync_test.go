package netlab

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRsync(t *testing.T) {
	if err := Rsync.Missing(); err != nil {
		lacking(t, err.Error())
	}
	if os.Getuid() != 0 {
		lacking(t, "the daemon's settings name root")
	}
	s := &Swarm{dir: t.TempDir(), Content: &Content{}}
	addr := netip.MustParseAddr("127.77.33.2")
	seed, err := s.newPeer("seed", addr, 0, Rsync, "")
	must(t, err)
	leaf, err := s.newPeer("leaf", netip.MustParseAddr("127.77.33.3"), 0, Rsync, s.rsyncURL(addr))
	must(t, err)
	source := filepath.Join(seed.Dir, contentName)
	must(t, makeFiles(source, RandomSizes(50, 1, 5000)))
	must(t, seed.Start())
	defer seed.Kill()
	must(t, s.awaitRsync(t.Context(), seed))
	must(t, leaf.Start())
	defer leaf.Kill()
	must(t, await(t.Context(), 10*time.Millisecond, "the leaf has everything", func() (bool, error) {
		_, ok := leaf.Complete()
		return ok, leaf.err()
	}))
	must(t, sameTree(t.Context(), source, filepath.Join(leaf.Dir, contentName)))
	if err := leaf.err(); err != nil {
		t.Errorf("a leaf that has everything has ended: %v", err)
	}
}
