package swarm

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
	"distd/pkg/swarm/wire"
)

// openFiles is the number of this process's open files.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("cannot count open files here: ", err)
	}
	return len(entries) - 1 // without that of the folder itself
}

// addComplete adds a torrent that is complete to an engine.
func addComplete(t testing.TB, e *Engine, c *content, dir string) *Torrent {
	t.Helper()
	st, err := pieces.Open(pieces.Config{Dir: dir, Layout: c.layout, Complete: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	tor, err := e.Add(Spec{InfoHash: c.hash, Name: "rel", Layout: c.layout, Verify: c.verify, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	return tor
}

// guest is a peer without goroutines that takes a whole torrent.
type guest struct {
	nc  net.Conn
	con *content
	w   *wire.Writer
	r   *wire.Reader
}

func newGuest(t testing.TB, at netip.AddrPort, con *content, id byte) *guest {
	t.Helper()
	nc, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	s, err := wire.Initiate(context.Background(), nc, wire.Options{PeerID: [20]byte{'g', 'u', 'e', 's', 't', id}, InfoHash: con.hash})
	if err != nil {
		t.Fatal(err)
	}
	limits := wire.Limits{Pieces: con.layout.NumPieces(), PieceLength: con.layout.PieceLength, Total: con.layout.Total, Fast: s.Fast, Extensions: s.Extensions}
	g := &guest{nc: nc, con: con, w: wire.NewWriter(nc, wire.WriterConfig{})}
	g.r = wire.NewReader(nc, wire.ReaderConfig{Limits: limits, Sink: func(b wire.Block) []byte { return make([]byte, b.Length) }})
	return g
}

// download asks for every piece, each of one block, and checks what comes.
func (g *guest) download() error {
	g.w.Send(wire.Interested)
	for i := range g.con.layout.NumPieces() {
		g.w.SendRequest(wire.Request, wire.Block{Index: uint32(i), Length: uint32(g.con.layout.PieceSize(i))})
	}
	if err := g.w.Flush(); err != nil {
		return err
	}
	_ = g.nc.SetReadDeadline(time.Now().Add(time.Minute))
	got := bitmap.New(g.con.layout.NumPieces())
	var m wire.Message
	for !got.All() {
		if err := g.r.Next(&m); err != nil {
			return err
		}
		if m.Type != wire.Piece {
			continue
		}
		if !g.con.verify(int(m.Index), m.Data) {
			return fmt.Errorf("piece %d is wrong", m.Index)
		}
		got.Set(int(m.Index))
	}
	return nil
}

// TestManyTorrents: of a thousand torrents only those with peers cost goroutines
// and open files, and only as long as they have them.
func TestManyTorrents(t *testing.T) {
	const torrents, busy, guests = 1000, 3, 40
	first := newContent(t, 300<<10, 16<<10)
	seed := startNode(t, first, nodeOptions{seed: true})
	contents := []*content{first}
	empty := t.TempDir()
	for i := range torrents - 1 {
		if i >= busy-1 {
			addComplete(t, seed.e, newContent(t, 100+i, 16<<10), empty)
			continue
		}
		c := newContent(t, 200<<10+i, 16<<10)
		dir := t.TempDir()
		c.put(t, dir)
		addComplete(t, seed.e, c, dir)
		contents = append(contents, c)
	}
	leaf := startNode(t, first, nodeOptions{})
	noLoops := func() bool {
		for _, e := range []*Engine{seed.e, leaf.e} {
			for _, tor := range e.Torrents() {
				if !idleLoop(tor) {
					return false
				}
			}
		}
		return true
	}
	for _, n := range []*node{seed, leaf} { // all that an engine starts is there once it shakes hands
		_ = newGuest(t, n.addr, first, 255).nc.Close()
	}
	eventually(t, time.Minute, "the loops end", func() bool { return noLoops() && seed.e.conns.Load()+leaf.e.conns.Load() == 0 })
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	t.Logf("idle: %d goroutines, %d files", goroutines, files)
	if goroutines > 50 || files > 50 {
		t.Errorf("%d goroutines and %d files for %d idle torrents", goroutines, files, torrents)
	}

	var all []*guest
	for i := range guests {
		all = append(all, newGuest(t, seed.addr, contents[i%busy], byte(i)))
	}
	for i, g := range all {
		if err := g.download(); err != nil {
			t.Fatalf("guest %d: %v", i, err)
		}
	}
	// A reader and a writer for each connection and a loop for each torrent; two
	// ends of each connection, two files of each torrent, their folders, and the
	// content root, which is open twice.
	eventually(t, time.Minute, "no more goroutines than connections need", func() bool {
		return runtime.NumGoroutine() <= goroutines+2*guests+busy
	})
	if now := openFiles(t); now > files+2*guests+6*busy {
		t.Errorf("%d files more with %d connections", now-files, guests)
	}
	leaf.knows(seed)
	leaf.wait(20 * time.Second)
	for _, g := range all {
		_ = g.nc.Close()
	}
	eventually(t, time.Minute, "all is as before", func() bool {
		return noLoops() && runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
	})
	first.same(t, leaf.dir)
}

// slowStore keeps whoever reads waiting, and counts how often it is told to close
// its files.
type slowStore struct {
	PieceStore
	reading, goOn chan struct{}
	closed        atomic.Int32
}

func (s *slowStore) ReadAt(buf []byte, piece int, begin int64) error {
	s.reading <- struct{}{}
	<-s.goOn
	return s.PieceStore.ReadAt(buf, piece, begin)
}

func (s *slowStore) CloseIdle() { s.closed.Add(1) }

// TestFilesAreClosedAfterTheLastWriter: a file that is in use when the peer has
// left is closed too.
func TestFilesAreClosedAfterTheLastWriter(t *testing.T) {
	con := newContent(t, 100, 16<<10)
	st := &slowStore{reading: make(chan struct{}), goOn: make(chan struct{})}
	seed := startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) { st.PieceStore, s.Store = s.Store, st }})
	g := newGuest(t, seed.addr, con, 1)
	g.w.Send(wire.Interested)
	g.w.SendRequest(wire.Request, wire.Block{Length: 100})
	if err := g.w.Flush(); err != nil {
		t.Fatal(err)
	}
	<-st.reading
	before := st.closed.Load()
	_ = g.nc.Close()
	eventually(t, time.Minute, "the peer is gone", func() bool { return st.closed.Load() > before && idleLoop(seed.tor) })
	before = st.closed.Load()
	close(st.goOn)
	eventually(t, time.Minute, "files are closed after the writer", func() bool { return st.closed.Load() > before })
}

// idleLoop reports whether nobody runs the torrent's loop.
func idleLoop(tor *Torrent) bool {
	tor.box.mu.Lock()
	defer tor.box.mu.Unlock()
	return !tor.box.owned
}

// wholeStore has every piece, and nothing else.
type wholeStore struct {
	PieceStore
	pieces int
}

func (s wholeStore) Have() *bitmap.Bitmap {
	b := bitmap.New(s.pieces)
	b.SetAll()
	return b
}

// BenchmarkIdleTorrent shows what an idle torrent keeps in memory.
func BenchmarkIdleTorrent(b *testing.B) {
	for _, n := range []int{1, 1000, 4000} {
		for _, directing := range []bool{false, true} {
			b.Run(fmt.Sprintf("pieces=%d/directing=%v", n, directing), func(b *testing.B) {
				lay, err := layout.New(1<<18, []layout.File{{Path: "rel", Length: int64(n) << 18}})
				if err != nil {
					b.Fatal(err)
				}
				e, err := New(Config{PeerID: [20]byte{1}})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for i := range b.N {
					ih := [20]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
					if _, err := e.Add(Spec{InfoHash: ih, Layout: lay, Verify: func(int, []byte) bool { return true }, Store: wholeStore{pieces: n}, Directing: directing}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
