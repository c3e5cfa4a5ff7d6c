package swarm

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
	"distd/pkg/swarm/wire"
)

// eventually waits for what is to become true.
func eventually(t *testing.T, d time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", d, what)
		}
	}
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// stallingPeer makes the victim begin pieces that never come.
func stallingPeer(t *testing.T, victim *node, con *content) *enemy {
	t.Helper()
	e := newEnemy(t, victim, con)
	e.w.Send(wire.HaveAll)
	e.w.Send(wire.Unchoke)
	e.flush()
	e.requested()
	return e
}

func TestCloseGivesMemoryBack(t *testing.T) {
	con := newContent(t, 2<<20, 64<<10)
	n := startNode(t, con, nodeOptions{})
	stallingPeer(t, n, con)
	if n.e.budget.inUse() == 0 {
		t.Fatal("no memory is taken while pieces are under way")
	}
	if err := n.tor.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "memory is given back", func() bool { return n.e.budget.inUse() == 0 })
}

// Pieces that were begun and left by their only holder must not keep the
// memory from other torrents.
func TestStrandedPiecesDoNotStarveOthers(t *testing.T) {
	con, other := newContent(t, 2<<20, 64<<10), newContent(t, 1<<20, 64<<10)
	n := startNode(t, con, nodeOptions{change: func(c *Config) { c.Memory = 64 << 10 }})
	e := stallingPeer(t, n, con)
	seed := startNode(t, other, nodeOptions{seed: true})
	st, err := pieces.Open(pieces.Config{Dir: t.TempDir(), Layout: other.layout, Verify: other.verify})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	tor, err := n.e.Add(Spec{InfoHash: other.hash, Layout: other.layout, Verify: other.verify, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	tor.AddPeers(SourceTracker, []netip.AddrPort{seed.addr})
	eventually(t, 5*time.Second, "the other torrent waits for memory", n.e.budget.wanted)
	_ = e.nc.Close()
	select {
	case <-tor.Done():
	case <-time.After(10 * time.Second):
		t.Errorf("the other torrent waits for ever: %+v", tor.Stats())
	}
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
}

func TestTorrentWithoutPieces(t *testing.T) {
	lay, err := layout.New(64<<10, []layout.File{{Path: "rel/empty"}})
	if err != nil {
		t.Fatal(err)
	}
	con := &content{layout: lay, hash: [20]byte{1}}
	n := startNode(t, con, nodeOptions{})
	n.wait(time.Second)
	e := newEnemy(t, n, con)
	e.raw(wire.Have, words(3)...)
	if !e.closed(5 * time.Second) {
		t.Error("a peer with a piece that there is not is still connected")
	}
	if n.tor.Left() != 0 {
		t.Errorf("%d bytes left of nothing", n.tor.Left())
	}
}

func TestCompletedBeforeRun(t *testing.T) {
	con := newContent(t, 200<<10, 64<<10)
	st, err := pieces.Open(pieces.Config{Dir: t.TempDir(), Layout: con.layout, Verify: con.verify})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	e, err := New(Config{PeerID: [20]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	tor, err := e.Add(Spec{InfoHash: con.hash, Layout: con.layout, Verify: con.verify, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	for i := range con.layout.NumPieces() {
		if err := tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
			t.Fatal(err)
		}
		_ = tor.Stats() // acts for the loop, and makes durable what is there
		if want := con.layout.Total - con.layout.PieceOffset(i) - con.layout.PieceSize(i); tor.Left() != want {
			t.Errorf("%d bytes left after piece %d, want %d", tor.Left(), i, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	select {
	case <-tor.Done():
	case <-time.After(5 * time.Second):
		t.Error("all pieces are there, but it is not done")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Calls from many goroutines are all answered, whenever the engine ends.
func TestCallsWhileTheEngineEnds(t *testing.T) {
	con := newContent(t, 200<<10, 64<<10)
	n := startNode(t, con, nodeOptions{})
	var wg sync.WaitGroup
	var empty atomic.Int64
	begin := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			<-begin
			for range 2000 {
				if s := n.tor.Stats(); s.Pieces != con.layout.NumPieces() {
					empty.Add(1)
				}
				n.tor.Unclaim(n.tor.Claim("m", 1))
			}
		})
	}
	close(begin)
	n.stop()
	wg.Wait()
	if empty.Load() > 0 {
		t.Errorf("%d calls were not answered", empty.Load())
	}
}

// losingStore is one whose disk once drops what it had taken.
type losingStore struct {
	*pieces.Store
	lose func() error
}

func (s *losingStore) Sync(ctx context.Context) error {
	if err := s.lose(); err != nil {
		return err
	}
	return s.Store.Sync(ctx)
}

func TestLostPiecesAreFetchedAgain(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	for name, lost := range map[string][]int{"two": {2, 5}, "none that is known": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var syncs atomic.Int32
			n := startNode(t, con, nodeOptions{spec: func(s *Spec) {
				st := s.Store.(*pieces.Store)
				s.Store = &losingStore{Store: st, lose: func() error {
					if !st.Have().All() || syncs.Add(1) > 1 {
						return nil
					}
					for _, i := range lost {
						st.Drop(i)
					}
					return &pieces.LostError{Pieces: lost, Err: os.ErrInvalid}
				}}
			}})
			for i := range con.layout.NumPieces() {
				if err := n.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, 5*time.Second, "the loss is known", func() bool { return n.tor.Stats().DiskErrors == 1 })
			if want := int64(len(lost)) * 64 << 10; n.tor.Left() != want {
				t.Errorf("%d bytes left after the loss, want %d", n.tor.Left(), want)
			}
			for first, k := n.tor.Claim("m", 1); k > 0; first, k = n.tor.Claim("m", 1) {
				if err := n.tor.Deliver(t.Context(), "m", first, con.piece(first)); err != nil {
					t.Fatal(err)
				}
			}
			n.wait(10 * time.Second)
			con.same(t, n.dir)
		})
	}
}

// An address that turns out to be that of a connected peer is not dialled
// again and again.
func TestDuplicateIsNotDialledAgain(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	n := startNode(t, con, nodeOptions{})
	e := newEnemy(t, n, con)
	eventually(t, 5*time.Second, "the first connection is there", func() bool { return len(n.tor.Stats().Peers) == 1 })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			_, _ = wire.Accept(context.Background(), nc, wire.Options{PeerID: [20]byte{'e', 'v', 'i', 'l'}, Known: func([20]byte) bool { return true }})
			defer func() { _ = nc.Close() }()
		}
	})
	n.tor.AddPeers(SourceTracker, []netip.AddrPort{ln.Addr().(*net.TCPAddr).AddrPort()})
	time.Sleep(4 * firstBackoff) // enough for three
	_ = ln.Close()
	if got := dials.Load(); got != 1 {
		t.Errorf("dialled %d times", got)
	}
	_ = e.nc.Close()
	n.stop()
	wg.Wait()
}

// A seed whose file was cut gives what it can, does not offer the rest, says
// so, and goes on by itself when the file is whole again.
func TestUnreadablePieces(t *testing.T) {
	for name, directing := range map[string]bool{"directing": true, "not directing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			con := newContent(t, 3<<20, 64<<10)
			seed := startNode(t, con, nodeOptions{seed: true, directing: directing, change: func(c *Config) { c.recheckEvery = 100 * time.Millisecond }})
			cut := filepath.Join(seed.dir, "rel/d/b")
			if err := os.Truncate(cut, 1<<20); err != nil {
				t.Fatal(err)
			}
			leaf := startNode(t, con, nodeOptions{})
			leaf.knows(seed)
			// 2 MiB are readable, less what shares a piece with the rest.
			eventually(t, 10*time.Second, "the readable pieces are at the leaf", func() bool { return leaf.tor.Stats().Have == 32 })
			if s := seed.tor.Stats(); s.DiskError == nil || s.DiskErrors == 0 || s.Unreadable == 0 {
				t.Errorf("seed tells of %d disk errors, the last %v", s.DiskErrors, s.DiskError)
			}
			con.put(t, seed.dir)
			leaf.wait(20 * time.Second)
			con.same(t, leaf.dir)
			eventually(t, 5*time.Second, "the seed is well again", func() bool { return seed.tor.Stats().DiskError == nil })
		})
	}
}

// absentStore has no file to read until a certain time, as while a folder is
// renamed.
type absentStore struct {
	*pieces.Store
	until time.Time
}

func (s *absentStore) ReadAt(buf []byte, piece int, begin int64) error {
	if time.Now().Before(s.until) {
		return &os.PathError{Op: "open", Path: "rel", Err: os.ErrNotExist}
	}
	return s.Store.ReadAt(buf, piece, begin)
}

func (s *absentStore) FileRange(piece int, begin, n int64) (*os.File, int64, bool, func()) {
	if time.Now().Before(s.until) {
		return nil, 0, false, nil
	}
	return s.Store.FileRange(piece, begin, n)
}

// What was in the way of reading for a moment holds nobody up for a minute.
func TestUnreadableForAMoment(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, directing: true, spec: func(s *Spec) {
		s.Store = &absentStore{s.Store.(*pieces.Store), time.Now().Add(time.Second)}
	}})
	leaf := startNode(t, con, nodeOptions{})
	leaf.knows(seed)
	eventually(t, 10*time.Second, "pieces cannot be read", func() bool { return seed.tor.Stats().DiskErrors > 0 })
	leaf.wait(20 * time.Second)
	con.same(t, leaf.dir)
}

// A peer without the fast extension cannot be told that a block will not come.
func TestUnreadablePieceOfAPeerWithoutFast(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) {
		s.Store = &unreadableStore{faultyStore{Store: s.Store.(*pieces.Store)}}
	}})
	connect := func() (net.Conn, *wire.Reader) {
		nc, err := net.Dial("tcp", seed.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		hello := append([]byte("\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00"), con.hash[:]...)
		if _, err := nc.Write(append(hello, "a peer without fast!"...)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := nc.Read(make([]byte, 68)); err != nil {
			t.Fatal(err)
		}
		return nc, wire.NewReader(nc, wire.ReaderConfig{Limits: wire.Limits{Pieces: 16, PieceLength: 64 << 10, Total: 1 << 20}})
	}
	nc, r := connect()
	w := wire.NewWriter(nc, wire.WriterConfig{})
	w.SendRequest(wire.Request, wire.Block{Index: 3, Length: 16 << 10})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var m wire.Message
	for {
		if err := r.Next(&m); err != nil {
			if timedOut(err) {
				t.Error("the peer waits for ever")
			}
			break
		}
	}
	_, r = connect()
	for m.Type != wire.Bitfield {
		if err := r.Next(&m); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := bitmap.FromBytes(m.Data, 16); err != nil || b.Count() != 15 || b.Has(3) {
		t.Errorf("offered %v (%v) to a peer that comes later, want all but piece 3", b, err)
	}
}

// unreadableStore cannot read anything.
type unreadableStore struct{ faultyStore }

func (s *unreadableStore) ReadAt([]byte, int, int64) error { return errors.New("disk fails") }

func TestBookTriesNewAddressesFirst(t *testing.T) {
	b := newBook(func(string, netip.AddrPort) bool { return true })
	ap := func(i byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 6881) }
	now := time.Now()
	for i := range byte(100) {
		b.add(SourceTracker, ap(i)).failed(now)
	}
	now = now.Add(time.Hour)
	fresh := b.add(SourceTracker, ap(200))
	if a := b.due(now, need{}); a != fresh {
		t.Errorf("dialled %v before the new address", a.ap)
	}
	fresh.busy = true
	dials := 0
	for range 10000 {
		if a := b.due(now, need{}); a != nil {
			a.failed(now)
			dials++
		}
		now = now.Add(time.Second)
	}
	if dials > 100*maxFailures || b.hopeful(need{}) {
		t.Errorf("dead addresses were dialled %d times, more to come: %v", dials, b.hopeful(need{}))
	}
	if a := b.add(SourceTracker, ap(7)); b.due(now.Add(maxBackoff), need{}) != a {
		t.Error("an address that was named again is not dialled")
	}
}

// In a large farm a node does not connect to everybody that it hears of, but
// looks for more when those that it has are of no use.
func TestConnectsToSomeOfMany(t *testing.T) {
	con := newContent(t, 100<<10, 16<<10)
	leaf := startNode(t, con, nodeOptions{})
	for range wantedPeers + 10 {
		leaf.knows(startNode(t, con, nodeOptions{}))
	}
	count := func() (n int) {
		leaf.tor.call(func() { n = len(leaf.tor.conns) })
		return n
	}
	eventually(t, 20*time.Second, "as many connections as are wanted", func() bool { return count() == wantedPeers })
	leaf.tor.call(func() {
		t0 := time.Now()
		if leaf.tor.dial(t0); leaf.tor.dialling != 0 {
			t.Errorf("%d more are being dialled", leaf.tor.dialling)
		}
		if leaf.tor.dial(t0.Add(2 * idlePeer)); leaf.tor.dialling == 0 {
			t.Error("no other peer is tried though those that there are have nothing")
		}
	})
}

// A peer of which nothing is heard is connected to anew, one that says something
// is given more time.
func TestUnheardPeerIsDropped(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	leaf := startNode(t, con, nodeOptions{})
	stallingPeer(t, leaf, con)
	asked := func() (n int) {
		leaf.tor.call(func() {
			for _, c := range leaf.tor.conns {
				n += c.pe.Outstanding()
			}
		})
		return n
	}
	eventually(t, 10*time.Second, "the peer is asked", func() bool { return asked() > 0 })
	leaf.tor.call(func() {
		tor, c, now := leaf.tor, leaf.tor.conns[0], time.Now()
		tor.pick.Tick(tor.now() + time.Minute)
		if !c.pe.Snubbed() {
			t.Fatal("the peer is not taken for silent")
		}
		c.snubbedSince = now.Add(-2 * unheard)
		c.lastRead.Store(now.UnixNano())
		if tor.tickConns(now); len(tor.conns) != 1 {
			t.Error("a peer that was heard of was dropped")
		}
		c.lastRead.Store(now.Add(-2 * unheard).UnixNano())
		if tor.tickConns(now); len(tor.conns) != 0 {
			t.Error("a peer of which nothing is heard was kept")
		}
	})
}

func TestUsefulPeerIsDialledSoon(t *testing.T) {
	now := time.Now()
	useful, other := &addr{useful: now}, &addr{}
	for range 8 {
		useful.failed(now)
		other.failed(now)
	}
	if d := useful.next.Sub(now); d > usefulBackoff {
		t.Errorf("a peer that was of use just now is dialled after %v", d)
	}
	if d := other.next.Sub(now); d <= usefulBackoff {
		t.Errorf("a peer that never was of use is dialled after %v", d)
	}
	later := now.Add(2 * usefulTime)
	if useful.failed(later); useful.next.Sub(later) <= usefulBackoff {
		t.Error("a peer is taken for one of use for ever")
	}
}
