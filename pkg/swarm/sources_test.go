package swarm

import (
	"maps"
	"net/netip"
	"testing"
	"time"
)

// Stats say by source how many addresses are known and how many peers are
// connected; the first source counts.
func TestSourcesOfAddresses(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	other, leaf := startNode(t, con, nodeOptions{}), startNode(t, con, nodeOptions{})
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	leaf.tor.AddPeers(SourceLSD, []netip.AddrPort{other.addr})
	leaf.tor.AddPeers(SourceDHT, []netip.AddrPort{dead, other.addr})
	newEnemy(t, leaf, con)
	want := map[string]SourceStats{SourceLSD: {Known: 1, Connected: 1}, SourceDHT: {Known: 1}, SourceIncoming: {Connected: 1}}
	var got map[string]SourceStats
	defer func() {
		if t.Failed() {
			t.Logf("sources %v, want %v", got, want)
		}
	}()
	eventually(t, 20*time.Second, "sources are counted", func() bool {
		got = leaf.tor.Stats().Sources
		return maps.Equal(got, want)
	})
}
