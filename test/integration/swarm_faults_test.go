package integration

import (
	"context"
	"os"
	"testing"
	"time"

	"distd/test/netlab"
	"distd/test/netlab/hostile"
)

// hostilePeer is the argument by which this test binary runs as a hostile peer.
const hostilePeer = "hostile-peer"

// faultSpec is a swarm that takes some seconds, so that it is at work when the
// fault comes.
func faultSpec(t *testing.T) netlab.Spec {
	t.Helper()
	needRoot(t)
	for _, program := range []string{"ip", "tc", "opentracker", "mktorrent"} {
		need(t, program)
	}
	return netlab.Spec{
		Distd: bin, Dir: t.TempDir(), Seed: netlab.Distd, Seeds: 1, Clients: []netlab.Client{netlab.Distd, netlab.Distd, netlab.Distd, netlab.Distd},
		Size: 5<<20 + 321, Files: 1, PieceLength: 32 << 10, Cable: netlab.Cable{Mbit: 20}, Encryption: "allow",
	}
}

// runSwarm runs a swarm until all leaves are complete and looks at every byte.
func runSwarm(t *testing.T, spec netlab.Spec, fault netlab.Fault) *netlab.Swarm {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	s, err := netlab.NewSwarm(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Run(ctx, fault); err != nil {
		t.Error(err)
	}
	for who, err := range s.Differ(t.Context()) {
		t.Errorf("%s: %v", who, err)
	}
	if t.Failed() {
		for _, n := range append(s.Seeds, s.Leaves...) {
			t.Logf("%s printed:\n%s", n.Name, n.Log(2000))
		}
	}
	return s
}

func TestSwarmBearsFaults(t *testing.T) {
	notShort(t)
	for _, c := range []struct {
		name  string
		seeds int
		fault netlab.Fault
	}{
		{"seed killed after one copy", 1, netlab.SeedKilledAfterOneCopy},
		{"seed killed at 60 percent", 1, netlab.SeedKilledAt60},
		{"one of two seeds killed", 2, netlab.OneSeedKilled},
		{"leaves restarted", 1, netlab.LeavesRestarted(2, 500*time.Millisecond)},
		{"cable out", 1, netlab.CableOut(2 * time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := faultSpec(t)
			spec.Seeds = c.seeds
			runSwarm(t, spec, c.fault)
		})
	}
}

func TestSwarmBearsHostilePeers(t *testing.T) {
	for _, behaviour := range hostile.Behaviours {
		t.Run(behaviour, func(t *testing.T) {
			spec := faultSpec(t)
			self, err := os.Executable()
			must(t, err)
			spec.Hostile, spec.HostilePeer = behaviour, []string{self, hostilePeer}
			s := runSwarm(t, spec, nil)
			if s.Deceived() == 0 {
				t.Errorf("no leaf asked the hostile peer for anything, which has shown nothing; it printed:\n%s", s.Hostile.Log(2000))
			}
		})
	}
}

// TestSwarmOfManyClients has one leaf of each kind, and one that comes late,
// get a tree from distd.
func TestSwarmOfManyClients(t *testing.T) {
	spec := faultSpec(t)
	need(t, "aria2c")
	needLibtorrent(t)
	spec.Clients = []netlab.Client{netlab.Distd, netlab.Aria2, netlab.Libtorrent, netlab.Distd}
	spec.Files, spec.Late = 20, 1
	runSwarm(t, spec, nil)
}
