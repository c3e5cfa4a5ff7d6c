package swarm

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"distd/pkg/swarm/pieces"
	"distd/pkg/swarm/wire"
)

// faultyStore is a store whose disk misbehaves.
type faultyStore struct {
	*pieces.Store
	full    atomic.Int32 // so many writes fail with ENOSPC
	corrupt func(piece int, b []byte)
}

func (s *faultyStore) WritePiece(i int, b []byte) error {
	if s.full.Add(-1) >= 0 {
		return &net.OpError{Op: "write", Err: syscall.ENOSPC}
	}
	return s.Store.WritePiece(i, b)
}

func (s *faultyStore) ReadAt(b []byte, i int, begin int64) error {
	err := s.Store.ReadAt(b, i, begin)
	if s.corrupt != nil {
		s.corrupt(i, b)
	}
	return err
}

// FileRange keeps blocks from going past ReadAt.
func (s *faultyStore) FileRange(int, int64, int64) (f *os.File, off int64, ok bool, release func()) {
	return nil, 0, false, nil
}

func TestFullDiskPausesAndGoesOn(t *testing.T) {
	con := newContent(t, 2<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, directing: true})
	leaf := startNode(t, con, nodeOptions{spec: func(s *Spec) {
		f := &faultyStore{Store: s.Store.(*pieces.Store)}
		f.full.Store(6)
		s.Store = f
	}})
	leaf.knows(seed)
	deadline := time.Now().Add(10 * time.Second)
	for leaf.tor.Stats().DiskErrors == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	s := leaf.tor.Stats()
	if !errors.Is(s.DiskError, syscall.ENOSPC) || len(s.Peers) != 1 {
		t.Errorf("with a full disk: error %v and %d peers, want ENOSPC and the seed", s.DiskError, len(s.Peers))
	}
	leaf.wait(20 * time.Second)
	con.same(t, leaf.dir)
	if s := leaf.tor.Stats(); s.DiskError != nil || s.DiskErrors < 1 {
		t.Errorf("after the disk had space again: error %v after %d errors", s.DiskError, s.DiskErrors)
	}
}

func TestPeerWithBadBytesIsBlamed(t *testing.T) {
	con := newContent(t, 2<<20, 64<<10)
	good := startNode(t, con, nodeOptions{seed: true})
	bad := startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) {
		s.Store = &faultyStore{Store: s.Store.(*pieces.Store), corrupt: func(_ int, b []byte) { b[len(b)/2] ^= 1 }}
	}})
	leaf := startNode(t, con, nodeOptions{})
	leaf.knows(bad)
	deadline := time.Now().Add(10 * time.Second)
	for leaf.tor.Stats().BadPieces == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if s := leaf.tor.Stats(); s.Blamed[netip.MustParseAddr("127.0.0.1")] == 0 || s.BadPieces == 0 {
		t.Errorf("%d bad pieces, blamed %v", s.BadPieces, s.Blamed)
	}
	bad.knows(leaf) // it may not come back by dialling either
	leaf.knows(good)
	leaf.wait(20 * time.Second)
	con.same(t, leaf.dir)
	if bad.tor.Stats().Uploaded > 4*int64(len(con.data)) {
		t.Error("the bad peer was asked again and again")
	}
}

func TestResumeFetchesOnlyWhatIsMissing(t *testing.T) {
	con := newContent(t, 2<<20, 64<<10)
	first := startNode(t, con, nodeOptions{})
	for i := range 20 {
		if err := first.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
			t.Fatal(err)
		}
	}
	first.stop()
	seed := startNode(t, con, nodeOptions{seed: true, directing: true})
	again := startNode(t, con, nodeOptions{dir: first.dir})
	if s := again.tor.Stats(); s.Have != 20 {
		t.Errorf("%d pieces after a restart, want 20", s.Have)
	}
	again.knows(seed)
	again.wait(20 * time.Second)
	con.same(t, again.dir)
	if got, want := again.tor.Stats().Downloaded[SourcePeers], int64(len(con.data)-20*64<<10); got != want {
		t.Errorf("%d bytes fetched after a restart, want %d", got, want)
	}
}

func TestSeedThatStillFetches(t *testing.T) {
	con := newContent(t, 3<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{directing: true})
	var leaves []*node
	for range 3 {
		leaves = append(leaves, startNode(t, con, nodeOptions{}))
	}
	leaves[0].knows(seed)
	leaves[1].knows(seed, leaves[0])
	leaves[2].knows(seed, leaves[0], leaves[1])
	for {
		first, n := seed.tor.Claim("m", 5)
		if n == 0 {
			break
		}
		if n > 2 { // a mirror that gives up half-way
			seed.tor.Unclaim(first+2, n-2)
			n = 2
		}
		for i := first; i < first+n; i++ {
			if err := seed.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // a mirror has a rate
		}
	}
	seed.wait(10 * time.Second)
	for _, l := range leaves {
		l.wait(20 * time.Second)
		con.same(t, l.dir)
	}
	s := seed.tor.Stats()
	if s.Downloaded[SourceMirrors] != int64(len(con.data)) || s.Downloaded[SourcePeers] != 0 {
		t.Errorf("seed got %v, want all from mirrors", s.Downloaded)
	}
}

func TestDeliverRefusesBadPieces(t *testing.T) {
	con := newContent(t, 200<<10, 64<<10)
	n := startNode(t, con, nodeOptions{})
	for _, b := range [][]byte{con.piece(1), con.piece(0)[:100], nil} {
		err := n.tor.Deliver(t.Context(), "m", 0, b)
		var bad interface{ BadPiece() bool }
		if !errors.As(err, &bad) || !bad.BadPiece() {
			t.Errorf("delivering %d bytes that are not the piece's: %v", len(b), err)
		}
	}
	if err := n.tor.Deliver(t.Context(), "m", 99, con.piece(0)); err == nil {
		t.Error("a piece that is not there was accepted")
	}
	for i := range con.layout.NumPieces() {
		if err := n.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
			t.Fatal(err)
		}
	}
	n.wait(10 * time.Second)
	con.same(t, n.dir)
	if first, k := n.tor.Claim("m", 1); k != 0 {
		t.Errorf("claimed piece %d of a complete torrent", first)
	}
}

func TestSourcesWithoutARunningEngine(t *testing.T) {
	con := newContent(t, 200<<10, 64<<10)
	st, err := pieces.Open(pieces.Config{Dir: t.TempDir(), Layout: con.layout, Verify: con.verify})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{PeerID: [20]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	tor, err := e.Add(Spec{InfoHash: con.hash, Layout: con.layout, Verify: con.verify, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Add(Spec{InfoHash: con.hash, Layout: con.layout, Verify: con.verify, Store: st}); err == nil {
		t.Error("a torrent was added twice")
	}
	if first, n := tor.Claim("m", 2); first != 0 || n != 2 {
		t.Errorf("claimed %d pieces from %d, want 2 from 0", n, first)
	}
	if err := tor.Deliver(t.Context(), "m", 0, con.piece(0)); err != nil {
		t.Error(err)
	}
	if s := tor.Stats(); s.Have != 1 {
		t.Errorf("%d pieces, want 1", s.Have)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
	_ = st.Close()
}

func TestEncryptionPolicies(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	for _, c := range []struct {
		seed, leaf wire.Policy
		meet       bool
		hidden     bool
	}{
		{wire.Require, wire.Allow, true, true}, // plain first, then MSE
		{wire.Allow, wire.Require, true, true},
		{wire.Allow, wire.Allow, true, false},
		{wire.Off, wire.Allow, true, false},
		{wire.Off, wire.Require, false, false},
	} {
		t.Run(c.leaf.String()+" to "+c.seed.String(), func(t *testing.T) {
			seed := startNode(t, con, nodeOptions{seed: true, directing: true, policy: c.seed})
			leaf := startNode(t, con, nodeOptions{policy: c.leaf})
			leaf.knows(seed)
			if !c.meet {
				select {
				case <-leaf.tor.Done():
					t.Error("they met")
				case <-time.After(300 * time.Millisecond):
				}
				return
			}
			leaf.wait(10 * time.Second)
		})
	}
}

func TestFenceSelfAndDuplicates(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	a := startNode(t, con, nodeOptions{})
	b := startNode(t, con, nodeOptions{})
	fenced := startNode(t, con, nodeOptions{change: func(c *Config) {
		c.AllowPeer = func(netip.Addr) bool { return false }
	}})
	a.knows(a, b, fenced)
	b.knows(a)
	fenced.knows(a, b)
	peers := func(n *node) int { return len(n.tor.Stats().Peers) }
	deadline := time.Now().Add(5 * time.Second)
	for (peers(a) != 1 || peers(b) != 1) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if peers(a) != 1 || peers(b) != 1 || peers(fenced) != 0 {
		t.Errorf("%d, %d and (behind the fence) %d peers, want 1, 1 and 0", peers(a), peers(b), peers(fenced))
	}
}

func TestPeerExchangeAndIdleSeeds(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	hub := startNode(t, con, nodeOptions{})
	a := startNode(t, con, nodeOptions{})
	b := startNode(t, con, nodeOptions{})
	a.knows(hub)
	b.knows(hub)
	deadline := time.Now().Add(15 * time.Second)
	for len(a.tor.Stats().Peers) < 2 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := len(a.tor.Stats().Peers); n != 2 {
		t.Errorf("%d peers by way of peer exchange, want 2", n)
	}
	for i := range con.layout.NumPieces() {
		if err := hub.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
			t.Fatal(err)
		}
	}
	a.wait(10 * time.Second)
	b.wait(10 * time.Second)
	deadline = time.Now().Add(10 * time.Second)
	for len(hub.tor.Stats().Peers) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := len(hub.tor.Stats().Peers); n != 0 {
		t.Errorf("a seed has %d connections to seeds", n)
	}
}

func TestCloseDropsConnections(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	a := startNode(t, con, nodeOptions{})
	b := startNode(t, con, nodeOptions{})
	a.knows(b)
	deadline := time.Now().Add(5 * time.Second)
	for len(b.tor.Stats().Peers) < 1 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		if err := a.tor.Close(); err != nil {
			t.Error(err)
		}
	}
	if a.e.Torrent(con.hash) != nil {
		t.Error("a closed torrent is still there")
	}
	for len(b.tor.Stats().Peers) > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := len(b.tor.Stats().Peers); n != 0 {
		t.Errorf("%d connections to a closed torrent", n)
	}
	if err := a.tor.Deliver(t.Context(), "m", 0, con.piece(0)); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
