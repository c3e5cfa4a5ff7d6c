package swarm

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/limit"
	"distd/pkg/swarm/pieces"
	"distd/pkg/swarm/serve"
)

// rated is a limit of so many bytes a second.
func rated(perSecond int64) *limit.Bucket {
	b := new(limit.Bucket)
	b.Set(perSecond)
	return b
}

// most says where most of the time went.
func most(m map[string]time.Duration) string {
	if len(m) == 0 {
		return "nowhere"
	}
	return slices.MaxFunc(slices.Collect(maps.Keys(m)), func(a, b string) int { return int(m[a] - m[b]) })
}

// TestWhereTimeGoes lets a download be held up in one way for ten seconds, and
// looks what the account says. Time is virtual.
func TestWhereTimeGoes(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name          string
		waited, moved string // most of the time
		start         func(t *testing.T, net *memNet, con *content) *node
	}{
		{"nobody is there", HeldPeers, "nowhere", func(t *testing.T, net *memNet, con *content) *node {
			return startNode(t, con, nodeOptions{net: net})
		}},
		{"nobody has a piece", HeldPieces, "nowhere", func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net})
			n.knows(startNode(t, con, nodeOptions{net: net}))
			return n
		}},
		{"the disk is full", HeldDisk, "", func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net, spec: func(s *Spec) {
				f := &faultyStore{Store: s.Store.(*pieces.Store)}
				f.full.Store(1 << 20)
				s.Store = f
			}})
			n.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
			return n
		}},
		{"the disk is slow", HeldDisk, "", func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net, change: func(c *Config) { c.Memory = 8 * con.layout.PieceLength }, spec: func(s *Spec) {
				s.Store = &lazyStore{Store: s.Store.(*pieces.Store), each: second / 2}
			}})
			n.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
			return n
		}},
		{"the limit is low", HeldLimits, "", func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net, change: func(c *Config) { c.Down = rated(64 << 10) }})
			n.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
			return n
		}},
		{"the link is slow", "", HeldPeers, func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net})
			net.slow(n.addr, 64<<10)
			n.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
			return n
		}},
		{"there is little memory", "", HeldMemory, func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net, change: func(c *Config) { c.Memory = 1 }})
			net.slow(n.addr, 64<<10)
			n.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
			return n
		}},
		{"a mirror is fetching", "", HeldMirrors, func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net})
			n.tor.Claim("m", 1)
			return n
		}},
		{"a mirror waits for its limit", "", HeldMirrorLimit, func(t *testing.T, net *memNet, con *content) *node {
			wan := rated(16 << 10)
			wan.Ask(1 << 20) // somebody is in line for a minute
			n := startNode(t, con, nodeOptions{net: net, spec: func(s *Spec) { s.MirrorLimit, s.Down = wan, wan }})
			n.tor.Claim("m", 1)
			return n
		}},
		{"no mirror is fetching", HeldMirrors, "nowhere", func(t *testing.T, net *memNet, con *content) *node {
			n := startNode(t, con, nodeOptions{net: net})
			n.tor.Unclaim(n.tor.Claim("m", 1))
			return n
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				con := newContent(t, 4<<20, 16<<10)
				began := time.Now()
				n := c.start(t, newMemNet(t), con)
				time.Sleep(10 * second)
				s := n.tor.Stats()
				if took := time.Since(began); s.Elapsed < took-second/2 || s.Elapsed > took {
					t.Errorf("after %v the account has %v", took, s.Elapsed)
				}
				t.Logf("waited %v, moved %v", s.Waited, s.Moved)
				if c.waited != "" && (most(s.Waited) != c.waited || s.Waited[c.waited] < 8*second) {
					t.Errorf("waited %v, want most of it for %s", s.Waited, c.waited)
				}
				if c.moved == "nowhere" && len(s.Moved) > 0 || c.moved != "" && most(s.Moved) != c.moved {
					t.Errorf("moved %v, want %s", s.Moved, c.moved)
				}
				if c.waited == "" && s.Moved[c.moved] < 8*second {
					t.Errorf("moved %v and waited %v, want 8 s held by %s", s.Moved, s.Waited, c.moved)
				}
			})
		})
	}
}

// lazyStore takes its time for each piece.
type lazyStore struct {
	*pieces.Store
	each time.Duration
}

func (s *lazyStore) WritePiece(i int, b []byte) error {
	time.Sleep(s.each)
	return s.Store.WritePiece(i, b)
}

// TestAccountEndsWithTheDownload: a release that is only seeded waits for nothing.
func TestAccountEndsWithTheDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, con := newMemNet(t), newContent(t, 1<<20, 64<<10)
		leaf := startNode(t, con, nodeOptions{net: net})
		net.slow(leaf.addr, 256<<10)
		leaf.knows(startNode(t, con, nodeOptions{net: net, seed: true}))
		leaf.wait(time.Minute)
		s := leaf.tor.Stats()
		if s.Elapsed < 4*time.Second {
			t.Errorf("it took %v over a link that needs 4 s", s.Elapsed)
		}
		time.Sleep(time.Hour)
		if later := leaf.tor.Stats().Elapsed; later > s.Elapsed+time.Second {
			t.Errorf("after an hour of rest the download has taken %v, before %v", later, s.Elapsed)
		}
	})
}

// TestWhatRequestsWaitFor: at a seed with a limit, and at one that serves one peer
// at a time.
func TestWhatRequestsWaitFor(t *testing.T) {
	for _, c := range []struct {
		why    string
		least  time.Duration
		change func(*Config)
		down   Limiter
	}{
		{HeldLimits, 5 * time.Second, func(c *Config) { c.Up = rated(64 << 10) }, nil},
		// A peer that does not read loses its turn after a while.
		{HeldTurn, serve.Stale, func(c *Config) { c.UploadSlots = 1 }, rated(64 << 10)},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, con := newMemNet(t), newContent(t, 1<<20, 64<<10)
				seed := startNode(t, con, nodeOptions{net: net, seed: true, change: c.change})
				for range 2 {
					startNode(t, con, nodeOptions{net: net, change: func(cfg *Config) { cfg.Down = c.down }}).knows(seed)
				}
				time.Sleep(10 * time.Second)
				got := seed.tor.Stats().RequestsWaited
				if most(got) != c.why || got[c.why] < c.least {
					t.Errorf("requests waited %v, want %v or more for %s", got, c.least, c.why)
				}
			})
		})
	}
}

// TestCopies: what a directing seed knows of the copies in its swarm.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, con := newMemNet(t), newContent(t, 1<<20, 64<<10)
		seed := startNode(t, con, nodeOptions{net: net, seed: true, directing: true})
		if k := *seed.tor.Stats().Copies; k != (Copies{}) {
			t.Errorf("without peers there are %+v", k)
		}
		fast, slow := startNode(t, con, nodeOptions{net: net}), startNode(t, con, nodeOptions{net: net})
		net.slow(slow.addr, 32<<10)
		fast.knows(seed)
		slow.knows(seed)
		fast.wait(time.Minute)
		time.Sleep(5 * time.Second) // for the seed to hear of it
		s := seed.tor.Stats()
		if k := *s.Copies; k.Complete != 1 || k.Lowest != 1 || k.Mean <= 1 || k.Mean >= 2 {
			t.Errorf("with one leaf complete and one on its way there are %+v", k)
		}
		if len(s.Peers) != 1 || s.Peers[0].GainRate < 16<<10 || s.Peers[0].GainRate > 64<<10 {
			t.Errorf("peers %+v, want the slow one at some 32 KiB/s", s.Peers)
		}
		if k := slow.tor.Stats().Copies; k != nil {
			t.Errorf("a leaf, which is not told of all pieces, knows of %+v", *k)
		}
		slow.wait(time.Hour)
		time.Sleep(5 * time.Second)
		if k := *seed.tor.Stats().Copies; k.Complete != 2 || k.Lowest != 2 || k.Mean != 2 {
			t.Errorf("with both complete there are %+v", k)
		}
	})
}
