package tracker_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"

	"distd/pkg/tracker"
)

// A node is the tracker of its datacenter and lists itself as a seed; a peer
// announces to it.
func Example() {
	server, err := tracker.NewServer(tracker.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	infoHash := [20]byte{1}
	server.Allow(infoHash, "web.tar")
	server.AddPeer(infoHash, tracker.Peer{ID: [20]byte{'s'}, Addr: netip.MustParseAddrPort("10.0.0.1:6881")})
	web := httptest.NewServer(server)
	defer web.Close()

	ctx, stop := context.WithCancel(context.Background())
	announcer := tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers:    [][]string{{web.URL + "/announce"}},
		InfoHash: infoHash,
		PeerID:   [20]byte{'l'},
		Port:     6881,
		Stats:    func() tracker.Stats { return tracker.Stats{Left: 1 << 20} },
		Peers: func(peers []netip.AddrPort) {
			fmt.Println("peers:", peers)
			stop()
		},
	})
	if err := announcer.Run(ctx); err != nil {
		fmt.Println(err)
	}
	t, _ := server.Torrent(infoHash)
	fmt.Printf("%s: %d seeds, %d leeches after the stop\n", t.Name, t.Seeds, t.Leeches)
	// Output:
	// peers: [10.0.0.1:6881]
	// web.tar: 1 seeds, 0 leeches after the stop
}
