package swarm

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"distd/pkg/swarm/wire"
)

// mirror brings a node what it claims, a run at a time, until all is there or
// stop is closed. It counts the bytes.
type mirror struct {
	bytes atomic.Int64
	ended chan struct{}
}

func (n *node) fetch(t *testing.T, con *content, each time.Duration, stop <-chan struct{}) *mirror {
	m := &mirror{ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for {
			n.tor.Yield() // a run is under way as a whole
			first, k := n.tor.Claim("m", 3)
			for i := first; i < first+k; i++ {
				select {
				case <-stop:
					return
				case <-time.After(each):
				}
				m.bytes.Add(int64(len(con.piece(i))))
				n.tor.Received(int64(len(con.piece(i))))
				if err := n.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
					return // the node was stopped
				}
			}
			if k > 0 {
				continue
			}
			select {
			case <-stop:
				return
			case <-n.tor.Done():
				return
			case <-n.tor.Changed():
			}
		}
	}()
	return m
}

func oneCopy(fetchers int) func(*Spec) {
	return func(s *Spec) { s.OneCopy, s.Fetchers = true, fetchers }
}

// Two seeds that fetch at the same time bring one copy together, and the leaf
// has it from both.
func TestTwoSeedsFetchOneCopy(t *testing.T) {
	con := newContent(t, 6<<20, 32<<10)
	a := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(1)})
	b := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(1)})
	leaf := startNode(t, con, nodeOptions{spec: oneCopy(0)})
	leaf.knows(a, b)
	a.knows(b)
	stop := make(chan struct{})
	defer close(stop)
	ma, mb := a.fetch(t, con, 2*time.Millisecond, stop), b.fetch(t, con, 2*time.Millisecond, stop)
	for _, n := range []*node{a, b, leaf} {
		n.wait(30 * time.Second)
		con.same(t, n.dir)
	}
	total := ma.bytes.Load() + mb.bytes.Load()
	if len64 := int64(len(con.data)); total > len64+len64/20 {
		t.Errorf("%d bytes from mirrors for content of %d", total, len64)
	}
	if ma.bytes.Load() == 0 || mb.bytes.Load() == 0 {
		t.Errorf("one seed fetched all: %d and %d bytes", ma.bytes.Load(), mb.bytes.Load())
	}
}

// A seed that ends in the middle leaves its claims to the other.
func TestSeedTakesOverFromOneThatEnds(t *testing.T) {
	con := newContent(t, 4<<20, 32<<10)
	a := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(1)})
	b := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(1)})
	a.knows(b)
	stop, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	ma := a.fetch(t, con, 2*time.Millisecond, stop)
	mb := b.fetch(t, con, 2*time.Millisecond, never)
	eventually(t, 20*time.Second, "both have fetched", func() bool { return ma.bytes.Load() > 1<<20 && mb.bytes.Load() > 1<<19 })
	close(stop)
	<-ma.ended
	a.stop()
	b.wait(30 * time.Second)
	con.same(t, b.dir)
	if total := ma.bytes.Load() + mb.bytes.Load(); total > int64(len(con.data))*11/10 {
		t.Errorf("%d bytes from mirrors for content of %d", total, len(con.data))
	}
}

// A seed whose other never comes waits for it once, not with each release. When
// it is there again, the next release waits for it.
func TestSeedDoesNotWaitTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet(t)
		options := func(s *Spec) { s.Directing = true; oneCopy(1)(s) }
		one, two, three := newContent(t, 64<<10, 32<<10), newContent(t, 96<<10, 32<<10), newContent(t, 128<<10, 32<<10)
		n := startNode(t, one, nodeOptions{net: net, directing: true, spec: oneCopy(1)})
		if _, k := n.tor.Claim("m", 1); k != 0 {
			t.Fatal("claimed before the other could be met")
		}
		time.Sleep(meetTime)
		synctest.Wait()
		select {
		case <-n.tor.Changed():
		default:
			t.Error("nobody is told that the wait is over")
		}
		if _, k := n.tor.Claim("m", 1); k == 0 {
			t.Fatal("nothing claimed though nobody came")
		}
		n2 := n.also(two, false, options)
		if _, k := n2.tor.Claim("m", 1); k == 0 {
			t.Error("waited again for one that is away")
		}
		other := startNode(t, two, nodeOptions{net: net, directing: true, spec: oneCopy(0)})
		other.knows(n)
		time.Sleep(meetTime)
		other.tor.Claim("m", 1) // it may be that all falls to the first
		time.Sleep(meetTime)
		n2.tor.Claim("m", 1)
		n3 := n.also(three, false, options)
		if _, k := n3.tor.Claim("m", 1); k != 0 {
			t.Error("did not wait for one that is back")
		}
	})
}

// Messages that make no sense end the connection they came in on, and nothing
// else.
func TestBadClaims(t *testing.T) {
	con := newContent(t, 256<<10, 32<<10)
	a := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(0)})
	b := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(0)})
	a.knows(b)
	conns := func() (n int) { a.tor.call(func() { n = len(a.tor.conns) }); return n }
	eventually(t, 20*time.Second, "a connection", func() bool { return conns() == 1 })
	for _, bad := range [][]byte{
		[]byte("nonsense"),
		(&wire.Claims{Claimed: []wire.Run{{First: 7, N: 2}}}).Encode(),
		(&wire.Claims{Taken: []wire.Run{{First: 0, N: 0}}}).Encode(),
		(&wire.Claims{Released: []wire.Run{{First: 1 << 31, N: 1 << 31}}}).Encode(),
	} {
		var err error
		a.tor.call(func() { err = a.tor.claimsCame(a.tor.conns[0], bad) })
		if err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

// A leaf that fetches from no mirror knows which others do.
func TestLeafKnowsWhoFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, con := newMemNet(t), newContent(t, 1<<20, 32<<10)
		a := startNode(t, con, nodeOptions{net: net, spec: oneCopy(0)})
		b := startNode(t, con, nodeOptions{net: net, spec: oneCopy(0)})
		b.knows(a)
		fetches := func() bool {
			time.Sleep(100 * time.Millisecond)
			peers := b.tor.Stats().Peers
			if len(peers) != 1 {
				t.Fatalf("%d peers", len(peers))
			}
			return peers[0].Fetches
		}
		time.Sleep(time.Second)
		if fetches() {
			t.Error("one that has asked for nothing is said to fetch")
		}
		if first, n := a.tor.Claim("m", 3); first != 0 || n != 3 {
			t.Fatal("not claimed from the start")
		}
		for range 100 {
			if a.tor.Received(1 << 10); !fetches() {
				t.Fatal("one that fetches is said not to")
			}
		}
		// When it fetches as well, they soon know what each has claimed.
		if _, n := b.tor.Claim("m", 1); n != 1 {
			t.Fatal("nothing to claim")
		}
		a.tor.Received(1)
		fetches()
		if first, n := b.tor.Claim("m", 100); first < 3 || n == 0 {
			t.Errorf("claimed %d pieces from %d, which the other has claimed", n, first)
		}
		time.Sleep(5 * time.Second)
		if fetches() {
			t.Error("one to which nothing comes is said to fetch")
		}
	})
}

// Who changes its claims all the time is left alone.
func TestClaimsWithoutEnd(t *testing.T) {
	con := newContent(t, 256<<10, 32<<10)
	a := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(0)})
	b := startNode(t, con, nodeOptions{directing: true, spec: oneCopy(0)})
	a.knows(b)
	conns := func() (n int) { a.tor.call(func() { n = len(a.tor.conns) }); return n }
	eventually(t, 20*time.Second, "a connection", func() bool { return conns() == 1 })
	all := []wire.Run{{First: 0, N: 8}}
	data := (&wire.Claims{Claimed: all, Released: all}).Encode()
	a.tor.call(func() {
		c := a.tor.conns[0]
		for n := 0; ; n++ {
			if err := a.tor.claimsCame(c, data); err != nil {
				return
			}
			if n > 100_000 {
				t.Error("claims without end are taken in")
				return
			}
		}
	})
}

// claimAll claims until nothing more can be claimed now.
func (n *node) claimAll() (all int) {
	for {
		_, k := n.tor.Claim("m", 4)
		if k == 0 {
			return all
		}
		all += k
	}
}

// A seed that fetches nothing, having no mirrors, is given no part.
func TestSeedWithoutMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, con := newMemNet(t), newContent(t, 1<<20, 32<<10)
		a := startNode(t, con, nodeOptions{net: net, directing: true, spec: oneCopy(1)})
		b := startNode(t, con, nodeOptions{net: net, directing: true, spec: oneCopy(1)})
		a.knows(b)
		a.claimAll()
		time.Sleep(meetTime)
		if n := a.claimAll(); n != 32 {
			t.Errorf("claimed %d pieces of 32 beside one that fetches nothing", n)
		}
	})
}

// Of two others that are expected one is away: it is waited for once.
func TestSeedWaitsForThoseWhoCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet(t)
		one, two := newContent(t, 1<<20, 32<<10), newContent(t, 1<<20+1, 32<<10)
		a := startNode(t, one, nodeOptions{net: net, directing: true, spec: oneCopy(2)})
		b := startNode(t, one, nodeOptions{net: net, directing: true, spec: oneCopy(2)})
		options := func(s *Spec) { s.Directing = true; oneCopy(2)(s) }
		release := func(a, b *node) (waited time.Duration) {
			a.knows(b)
			for begin := time.Now(); a.claimAll() == 0; waited = time.Since(begin) {
				b.claimAll()
				time.Sleep(10 * time.Millisecond)
			}
			return waited
		}
		if d := release(a, b); d < meetTime {
			t.Errorf("waited %v for two of whom one is away", d)
		}
		a2, b2 := a.also(two, false, options), b.also(two, false, options)
		if d := release(a2, b2); d > 100*time.Millisecond {
			t.Errorf("waited %v for one that was away before", d)
		}
	})
}
