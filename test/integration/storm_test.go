package integration

import (
	"fmt"
	mrand "math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestPublishStorm publishes a tree that changes at random again and again,
// faster than it spreads, while leaves and the seed are killed and started again.
// Whoever reads a live tree meanwhile sees a whole release and never an older one
// after a newer; hooks run for what became live, once and in order; and nothing is
// left behind.
func TestPublishStorm(t *testing.T) {
	t.Parallel()
	publishes, files := 20, 300
	if testing.Short() {
		publishes, files = 5, 100
	}
	rnd := seeded(t)
	tree, err := newStormTree(rnd, filepath.Join(t.TempDir(), "site"), files)
	must(t, err)
	master := newMaster(t)
	seed := newSeed(t, master, "")
	s := &storm{t: t, tree: tree, known: map[string]snapshot{}}
	for _, args := range [][]string{nil, nil, {"-down=100KiB"}} { // the last one gets what is superseded when it is half there
		l := &stormLeaf{storm: s, hookLog: filepath.Join(t.TempDir(), "runs")}
		l.member = newLeaf(t, seed, append(args, "-hook="+l.hook())...)
		s.leaves = append(s.leaves, l)
	}
	quit := make(chan struct{})
	var readers sync.WaitGroup
	stop := sync.OnceFunc(func() { close(quit); readers.Wait() })
	t.Cleanup(stop)
	for _, l := range s.leaves {
		readers.Go(func() { l.read(quit) })
	}

	pauses := mrand.New(mrand.NewPCG(rnd.Uint64(), 0)) // the tree's is the publisher's
	storming := make(chan error, 1)
	var last published
	go func() {
		var err error
		last, err = s.publishAll(master, publishes)
		storming <- err
	}()
	victims := []*member{s.leaves[0].member, s.leaves[1].member, s.leaves[2].member}
	seedDies := 1 + pauses.IntN(3)
	for i, over := 0, false; !over; i++ {
		select {
		case err := <-storming:
			must(t, err)
			over = true
			continue
		case <-time.After(time.Duration(50+pauses.IntN(400)) * time.Millisecond):
		}
		if i == seedDies {
			t.Log("kill the seed")
			seed.kill9()
			seed.restart()
			continue
		}
		n := pauses.IntN(len(victims))
		t.Logf("kill leaf %d", n)
		s.leaves[n].crash()
	}
	if last.Serial != uint64(publishes) {
		t.Errorf("the last release is %d", last.Serial)
	}
	for _, m := range append(victims, seed) {
		await(t, time.Minute, "the last release is live on "+m.dir, func() bool {
			return m.release("web", last.Serial).State == "seeding"
		})
	}
	for _, l := range s.leaves {
		await(t, 20*time.Second, "the last hook is done", func() bool { return l.release("web", last.Serial).HookOutcome == "done" })
	}
	stop()
	want, err := snap(tree.dir)
	must(t, err)
	for i, m := range append(victims, seed) {
		got, err := snap(filepath.Join(m.dir, "site") + "/")
		must(t, err)
		if d := got.differs(want); d != "" {
			t.Errorf("%s %d: %s", m.role, i, d)
		}
	}
	for i, l := range s.leaves {
		t.Logf("leaf %d: %d looks, %d of them at a release that was removed meanwhile; live were %q, hooks %q", i, l.looks, l.void, l.seen, l.lines())
		l.checkHooks()
	}
	for _, m := range append(victims, seed, master) {
		m.tidy()
		if out, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
			t.Errorf("verify on the %s: exit code %d\n%s%s", m.role, code, out, stderr)
		}
	}
}

// storm is a tree that is published, and those who must have it whole.
type storm struct {
	t      *testing.T
	tree   *stormTree
	leaves []*stormLeaf

	mu    sync.Mutex
	known map[string]snapshot // by version; each is there before it is published
}

// publishAll publishes a number of versions, each a fifth of a second after the
// last one, or at once when that takes longer.
func (s *storm) publishAll(master *member, n int) (p published, err error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if i > 0 {
			<-tick.C
			if err := s.tree.change(); err != nil {
				return p, err
			}
		}
		now, err := snap(s.tree.dir)
		if err != nil {
			return p, err
		}
		s.mu.Lock()
		s.known[now.version()] = now
		s.mu.Unlock()
		if p, err = tryPublish(master, s.tree.dir); err != nil {
			return p, fmt.Errorf("publish %d: %w", i+1, err)
		}
	}
	return p, nil
}
