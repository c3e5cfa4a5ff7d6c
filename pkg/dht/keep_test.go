package dht

import (
	"context"
	"net/netip"
	"testing"
)

// A node that knows no other says that this host is a peer, at the address at which
// it was asked, as long as it keeps the torrent with a port; to one that answers
// nobody too.
func TestLoneNodeIsAPeer(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		lone, _ := run(t, Config{Conn: listen(t, at), Allow: loopback})
		node := netip.AddrPortFrom(loop(0).Addr(), lone.Addr().Port())
		asks, _ := run(t, Config{Conn: listen(t, "127.0.0.1:0"), Allow: loopback, ReadOnly: true, Bootstrap: []string{node.String()}})
		wait(t, "the node to be known", func() bool { return asks.Stats().Good == 1 })
		find := func() (all []netip.AddrPort) {
			t.Helper()
			if err := asks.Find(context.Background(), hash1, func(p []netip.AddrPort) { all = append(all, p...) }); err != nil {
				t.Fatal(err)
			}
			return all
		}
		defer lone.Keep(hash1, 0, func([]netip.AddrPort) {})()
		if got := find(); len(got) != 0 {
			t.Errorf("%s: peers %v of a torrent that is only looked for", at, got)
		}
		stop := lone.Keep(hash1, 7000, func([]netip.AddrPort) {})
		if got := find(); len(got) != 1 || got[0] != loop(7000) {
			t.Errorf("%s: peers %v, want %v", at, got, loop(7000))
		}
		stop()
		if got := find(); len(got) != 0 {
			t.Errorf("%s: peers %v after the end", at, got)
		}
	}
}
