package swarm_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"distd/internal/layout"
	"distd/pkg/swarm"
	"distd/pkg/swarm/pieces"
)

// One engine seeds a file, another fetches it.
func Example() {
	data := []byte("the release")
	l, _ := layout.New(1<<14, []layout.File{{Path: "release", Length: int64(len(data))}})
	sum := sha256.Sum256(data)
	verify := func(_ int, b []byte) bool { return sha256.Sum256(b) == sum }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	start := func(id byte, dir string) (*swarm.Torrent, netip.AddrPort) {
		store, _ := pieces.Open(pieces.Config{Dir: dir, Layout: l, Verify: verify})
		_ = store.Recover(ctx, nil)
		ln, _ := net.Listen("tcp", "127.0.0.1:0")
		engine, _ := swarm.New(swarm.Config{Listener: ln, PeerID: [20]byte{id}})
		t, _ := engine.Add(swarm.Spec{InfoHash: [20]byte{1}, Name: "release", Layout: l, Verify: verify, Store: store, Directing: id == 1})
		go func() { ended <- engine.Run(ctx); _ = store.Close() }()
		return t, ln.Addr().(*net.TCPAddr).AddrPort()
	}
	from, _ := os.MkdirTemp("", "")
	to, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(from)
	defer os.RemoveAll(to)
	_ = os.WriteFile(filepath.Join(from, "release"), data, 0o644)
	_, at := start(1, from)
	leaf, _ := start(2, to)
	leaf.AddPeers(swarm.SourceTracker, []netip.AddrPort{at})
	<-leaf.Done()
	got, _ := os.ReadFile(filepath.Join(to, "release"))
	fmt.Printf("%s, %d of %d pieces\n", got, leaf.Stats().Have, leaf.Stats().Pieces)
	cancel()
	<-ended
	<-ended
	// Output: the release, 1 of 1 pieces
}
