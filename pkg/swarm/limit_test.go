package swarm

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distd/internal/limit"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// valve is a Limiter that lets through what the test gives it.
type valve struct {
	mu     sync.Mutex
	left   int
	open   bool
	passed int
	line   []chan struct{}
	wants  []int
	asked  chan struct{} // signalled when somebody has to wait
}

func newValve(left int) *valve { return &valve{left: left, asked: make(chan struct{}, 1)} }

func (v *valve) Ask(n int) (<-chan struct{}, func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pass(n) {
		return nil, nil
	}
	ready := make(chan struct{})
	v.line, v.wants = append(v.line, ready), append(v.wants, n)
	select {
	case v.asked <- struct{}{}:
	default:
	}
	return ready, func() {}
}

func (v *valve) Burst() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open {
		return math.MaxInt
	}
	return 16 << 10
}

func (v *valve) pass(n int) bool {
	if !v.open && v.left < n {
		return false
	}
	v.left -= n
	v.passed += n
	return true
}

// give lets n bytes more through, and all that come if open.
func (v *valve) give(n int, open bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left += n
	v.open = v.open || open
	for len(v.line) > 0 && v.pass(v.wants[0]) {
		close(v.line[0])
		v.line, v.wants = v.line[1:], v.wants[1:]
	}
}

func (v *valve) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.passed
}

func (v *valve) wait(t *testing.T) {
	t.Helper()
	select {
	case <-v.asked:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody asks the limiter")
	}
}

// next reads messages up to one of a type, and fails when one comes that must
// not.
func (e *enemy) next(want, not wire.Type) (m wire.Message) {
	e.t.Helper()
	_ = e.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		switch err := e.r.Next(&m); {
		case err != nil:
			e.t.Fatalf("waiting for %v: %v", want, err)
		case m.Type == not:
			e.t.Fatalf("%v came before %v", not, want)
		case m.Type == want:
			return m
		}
	}
}

func deliver(t *testing.T, n *node, con *content, piece int) {
	t.Helper()
	if err := n.tor.Deliver(t.Context(), "m", piece, con.piece(piece)); err != nil {
		t.Fatal(err)
	}
}

// TestUploadThatWaits: while blocks wait for a limit, HAVE and answers to
// cancels go out, and then as many blocks as the limit lets through.
func TestUploadThatWaits(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	up := newValve(0)
	n := startNode(t, con, nodeOptions{change: func(c *Config) { c.Up = up }})
	deliver(t, n, con, 0)
	e := newEnemy(t, n, con)
	blocks := make([]wire.Block, 4)
	for i := range blocks {
		blocks[i] = wire.Block{Begin: uint32(i) * wire.DefaultBlock, Length: wire.DefaultBlock}
		e.w.SendRequest(wire.Request, blocks[i])
	}
	e.flush()
	up.wait(t)
	deliver(t, n, con, 1)
	for e.next(wire.Have, wire.Piece).Index != 1 {
	}
	e.w.SendRequest(wire.Cancel, blocks[3])
	e.flush()
	if m := e.next(wire.Reject, wire.Piece); m.Block() != blocks[3] {
		t.Errorf("%+v is rejected, want %+v", m.Block(), blocks[3])
	}
	up.give(wire.DefaultBlock, false)
	if m := e.next(wire.Piece, wire.Reject); m.Block() != blocks[0] {
		t.Errorf("%+v came, want %+v", m.Block(), blocks[0])
	}
	deliver(t, n, con, 2)
	for e.next(wire.Have, wire.Piece).Index != 2 {
	}
	if s := n.tor.Stats(); s.Uploaded != wire.DefaultBlock || up.count() != wire.DefaultBlock {
		t.Errorf("%d bytes sent, %d let through", s.Uploaded, up.count())
	}
	up.give(0, true)
	for _, b := range blocks[1:3] {
		if m := e.next(wire.Piece, wire.Reject); m.Block() != b {
			t.Errorf("%+v came, want %+v", m.Block(), b)
		}
	}
}

// TestDownloadThatWaits: while a block waits for a limit, it is not read, and
// this side still says what it has.
func TestDownloadThatWaits(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	last := con.layout.NumPieces() - 1
	down := newValve(wire.DefaultBlock)
	n := startNode(t, con, nodeOptions{spec: func(s *Spec) { s.Down = down }})
	e := newEnemy(t, n, con)
	have := bitmap.New(last + 1)
	have.SetAll()
	have.Clear(last)
	e.w.SendBitfield(have)
	e.w.Send(wire.Unchoke)
	e.flush()
	for range 3 {
		b := e.requested()
		e.w.SendBlock(b, con.piece(int(b.Index))[b.Begin:b.Begin+b.Length], nil)
	}
	e.flush()
	down.wait(t)
	deliver(t, n, con, last)
	for e.next(wire.Have, wire.Piece).Index != uint32(last) {
	}
	if s := n.tor.Stats(); s.Downloaded[SourcePeers] != wire.DefaultBlock || down.count() != wire.DefaultBlock {
		t.Errorf("%d bytes received, %d let through", s.Downloaded[SourcePeers], down.count())
	}
	down.give(0, true)
	eventually(t, 10*time.Second, "the other two blocks are taken", func() bool {
		return n.tor.Stats().Downloaded[SourcePeers] == 3*wire.DefaultBlock
	})
	if down.count() != 3*wire.DefaultBlock {
		t.Errorf("%d bytes let through", down.count())
	}
	down.give(-1<<40, false)
	n.stop() // it ends while its reader may wait
}

// TestChannelsKeepTheirLimits: a torrent whose limit is used up does not keep
// another from the one upload slot, and both count for the node.
func TestChannelsKeepTheirLimits(t *testing.T) {
	slow, fast := newContent(t, 2<<20, 64<<10), newContent(t, 3<<20, 64<<10)
	var up, down limit.Bucket
	up.Set(64 << 20)
	down.Set(48 << 20)
	channel := newValve(10 * wire.DefaultBlock)
	seed := startNode(t, slow, nodeOptions{seed: true, change: func(c *Config) { c.Up, c.UploadSlots = &up, 1 }, spec: func(s *Spec) { s.Up = channel }})
	leaf := startNode(t, slow, nodeOptions{change: func(c *Config) { c.Down = &down }})
	seed2, leaf2 := seed.also(fast, true), leaf.also(fast, false)
	leaf.knows(seed)
	channel.wait(t)
	leaf2.knows(seed2)
	leaf2.wait(30 * time.Second)
	fast.same(t, leaf2.dir)
	if sent := seed.tor.Stats().Uploaded; sent > 10*wire.DefaultBlock || channel.count() > 10*wire.DefaultBlock {
		t.Errorf("%d bytes sent, %d let through, of %d", sent, channel.count(), 10*wire.DefaultBlock)
	}
	up.Set(0)
	up.Set(128 << 20)
	channel.give(1<<30, false)
	leaf.wait(30 * time.Second)
	slow.same(t, leaf.dir)
	sent := seed.tor.Stats().Uploaded
	if int64(channel.count()) < sent || sent < 2<<20 {
		t.Errorf("%d bytes sent, %d let through", sent, channel.count())
	}
	if all := sent + seed2.tor.Stats().Uploaded; up.Taken() < all {
		t.Errorf("%d bytes sent, the node's limit let %d through", all, up.Taken())
	}
	if all := leaf.tor.Stats().Downloaded[SourcePeers] + leaf2.tor.Stats().Downloaded[SourcePeers]; down.Taken() != all {
		t.Errorf("%d bytes received, the node's limit let %d through", all, down.Taken())
	}
}

// BenchmarkNoLimit is what a block costs that two limiters without a limit let
// through.
func BenchmarkNoLimit(b *testing.B) {
	var waiting atomic.Bool
	p := newPacer(new(limit.Bucket), new(limit.Bucket))
	for b.Loop() {
		if p.limited() || !p.wait(wire.DefaultBlock, nil, &waiting) {
			b.Fatal("has to wait")
		}
	}
}
