package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"distd/internal/layout"
	"distd/pkg/swarm/pieces"
	"distd/pkg/swarm/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is a release for tests.
type content struct {
	data   []byte
	layout *layout.Layout
	sums   [][32]byte
	hash   [20]byte
}

func newContent(t testing.TB, size int, pieceLength int64) *content {
	t.Helper()
	c := &content{data: make([]byte, size)}
	r := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)})
	_, _ = r.Read(c.data)
	var err error
	third := int64(size / 3)
	c.layout, err = layout.New(pieceLength, []layout.File{{Path: "rel/a", Length: third}, {Path: "rel/d/b", Length: int64(size) - third}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.layout.NumPieces() {
		c.sums = append(c.sums, sha256.Sum256(c.piece(i)))
	}
	c.hash = sha1.Sum(c.data)
	return c
}

func (c *content) piece(i int) []byte {
	off := c.layout.PieceOffset(i)
	return c.data[off : off+c.layout.PieceSize(i)]
}

func (c *content) verify(i int, b []byte) bool { return sha256.Sum256(b) == c.sums[i] }

// put writes the content's files below dir.
func (c *content) put(t testing.TB, dir string) {
	t.Helper()
	off := int64(0)
	for _, f := range c.layout.Files {
		p := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, c.data[off:off+f.Length], 0o644); err != nil {
			t.Fatal(err)
		}
		off += f.Length
	}
}

// same fails unless dir holds the content.
func (c *content) same(t testing.TB, dir string) {
	t.Helper()
	var got []byte
	for _, f := range c.layout.Files {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, c.data) {
		t.Errorf("%s differs from the source", dir)
	}
}

// node is an engine with one torrent in a test's process.
type node struct {
	t      testing.TB
	e      *Engine
	tor    *Torrent
	dir    string
	store  *pieces.Store
	addr   netip.AddrPort
	cancel context.CancelFunc
	ended  chan error
}

type nodeOptions struct {
	dir       string // "": a new one
	seed      bool
	directing bool
	policy    wire.Policy
	net       *memNet // nil: loopback
	change    func(*Config)
	spec      func(*Spec)
}

var nodeCount atomic.Uint32

func startNode(t testing.TB, c *content, o nodeOptions) *node {
	t.Helper()
	n := &node{t: t, dir: o.dir, ended: make(chan error, 1)}
	if n.dir == "" {
		n.dir = t.TempDir()
	}
	if o.seed {
		c.put(t, n.dir)
	}
	var err error
	n.store, err = pieces.Open(pieces.Config{Dir: n.dir, Layout: c.layout, Verify: c.verify, ProgressFile: filepath.Join(n.dir, "progress")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.store.Recover(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	if o.net != nil {
		ln = o.net.listen()
	} else if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	n.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	id := nodeCount.Add(1)
	cfg := Config{Listener: ln, PeerID: [20]byte{19: byte(id), 18: byte(id >> 8)}, Encryption: o.policy, Log: testLog(t).With(zap.Uint16("node", n.addr.Port()))}
	if o.net != nil {
		cfg.Dial = o.net.dial(n.addr)
	}
	if o.change != nil {
		o.change(&cfg)
	}
	if n.e, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	s := Spec{InfoHash: c.hash, Name: "rel", Layout: c.layout, InfoBytes: []byte("d4:name3:rele"), Verify: c.verify, Store: n.store, Directing: o.directing}
	if o.spec != nil {
		o.spec(&s)
	}
	if n.tor, err = n.e.Add(s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.ended <- n.e.Run(ctx) }()
	t.Cleanup(n.stop)
	return n
}

// also adds another torrent to the node's engine.
func (n *node) also(c *content, seed bool, change ...func(*Spec)) *node {
	n.t.Helper()
	o := &node{t: n.t, e: n.e, dir: n.t.TempDir(), addr: n.addr}
	if seed {
		c.put(n.t, o.dir)
	}
	var err error
	o.store, err = pieces.Open(pieces.Config{Dir: o.dir, Layout: c.layout, Verify: c.verify, ProgressFile: filepath.Join(o.dir, "progress")})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := o.store.Recover(context.Background(), nil); err != nil {
		n.t.Fatal(err)
	}
	s := Spec{InfoHash: c.hash, Name: "also", Layout: c.layout, Verify: c.verify, Store: o.store}
	for _, f := range change {
		f(&s)
	}
	if o.tor, err = n.e.Add(s); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		n.stop()
		_ = o.store.Close()
	})
	return o
}

func testLog(t testing.TB) *zap.Logger {
	if testing.Verbose() {
		return zaptest.NewLogger(t)
	}
	return zap.NewNop()
}

func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	select {
	case err := <-n.ended:
		if err != nil {
			n.t.Errorf("engine ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		n.t.Errorf("engine did not end")
	}
	_ = n.store.Close()
}

func (n *node) knows(others ...*node) {
	var as []netip.AddrPort
	for _, o := range others {
		as = append(as, o.addr)
	}
	n.tor.AddPeers(SourceTracker, as)
}

func (n *node) wait(d time.Duration) {
	n.t.Helper()
	select {
	case <-n.tor.Done():
	case <-time.After(d):
		n.t.Fatalf("not done after %v: %+v", d, n.tor.Stats())
	}
}

func TestLeafFromSeed(t *testing.T) {
	for _, c := range []struct {
		name      string
		directing bool
		policy    wire.Policy
		size      int
	}{
		{"plain", false, wire.Off, 3<<20 + 12345},
		{"directing", true, wire.Off, 3<<20 + 12345},
		{"encrypted", true, wire.Require, 3<<20 + 12345},
		{"one short piece", true, wire.Allow, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			con := newContent(t, c.size, 64<<10)
			seed := startNode(t, con, nodeOptions{seed: true, directing: c.directing, policy: c.policy})
			leaf := startNode(t, con, nodeOptions{policy: c.policy})
			seed.wait(time.Second)
			leaf.knows(seed)
			leaf.wait(20 * time.Second)
			con.same(t, leaf.dir)
			s := leaf.tor.Stats()
			if s.Downloaded[SourcePeers] != int64(c.size) || s.Have != s.Pieces || s.BytesLeft != 0 {
				t.Errorf("stats after completion: %+v", s)
			}
		})
	}
}

func TestFiveLeavesFromDirectingSeed(t *testing.T) {
	con := newContent(t, 8<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, directing: true})
	var leaves []*node
	for range 5 {
		leaves = append(leaves, startNode(t, con, nodeOptions{}))
	}
	for i, l := range leaves {
		l.knows(append([]*node{seed}, leaves[:i]...)...)
	}
	for _, l := range leaves {
		l.wait(30 * time.Second)
		con.same(t, l.dir)
	}
	up := seed.tor.Stats().Uploaded
	t.Logf("seed sent %.2f copies", float64(up)/float64(len(con.data)))
	if fmt.Sprint(up) == "0" {
		t.Error("seed sent nothing")
	}
}
