package torrentfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMagnetLink(t *testing.T) {
	m := &Magnet{
		InfoHash: [20]byte{0xab, 19: 1}, Name: "a +&=%/ü#.iso",
		Trackers: []string{"http://seed.dc:6969/announce", "udp://seed.dc:6969/announce"},
		WebSeeds: []string{"http://seed.dc:6969/releases/x/content/a%20b?x=1&y=2"},
		Sources:  []string{"http://[2001:db8::1]/a%20b.torrent"},
		Peers:    []string{"192.0.2.1:6881", "[2001:db8::1]:6881", "seed.dc:6881"},
	}
	link := MagnetLink(m, 42)
	want := "magnet:?xt=urn:btih:ab00000000000000000000000000000000000001&dn=a%20%2B%26%3D%25%2F%C3%BC%23.iso&xl=42" +
		"&tr=http%3A%2F%2Fseed.dc%3A6969%2Fannounce&tr=udp%3A%2F%2Fseed.dc%3A6969%2Fannounce" +
		"&ws=http%3A%2F%2Fseed.dc%3A6969%2Freleases%2Fx%2Fcontent%2Fa%2520b%3Fx%3D1%26y%3D2" +
		"&xs=http%3A%2F%2F%5B2001%3Adb8%3A%3A1%5D%2Fa%2520b.torrent" +
		"&x.pe=192.0.2.1:6881&x.pe=[2001:db8::1]:6881&x.pe=seed.dc:6881"
	if link != want {
		t.Errorf("link\n%s\nwant\n%s", link, want)
	}
	got, err := ParseMagnet(link)
	if err != nil {
		t.Fatal(err)
	}
	m.Length = 42
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
}

func TestMagnetLinkIsShort(t *testing.T) {
	m := &Magnet{Name: "tree", InfoHash: [20]byte{1}}
	for i := range 1000 {
		u := fmt.Sprintf("http://mirror%d.example/", i)
		m.Trackers, m.WebSeeds, m.Sources, m.Peers = append(m.Trackers, u), append(m.WebSeeds, u), append(m.Sources, u), append(m.Peers, "192.0.2.1:1")
	}
	got, err := ParseMagnet(MagnetLink(m, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Trackers) != maxLinkTrackers || len(got.WebSeeds) != maxLinkURLs || len(got.Sources) != maxLinkURLs || len(got.Peers) != maxLinkPeers || got.Trackers[0] != m.Trackers[0] {
		t.Errorf("the link has %d trackers, %d web seeds, %d sources and %d peers", len(got.Trackers), len(got.WebSeeds), len(got.Sources), len(got.Peers))
	}
}

func TestMagnetLinkRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &Magnet{Name: rapid.String().Draw(r, "name"), InfoHash: [20]byte(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(r, "hash"))}
		m.WebSeeds = []string{"http://h/" + rapid.StringMatching(`[!-~]{0,20}`).Draw(r, "path")}
		if len(keepURLs([][]byte{[]byte(m.WebSeeds[0])}, webSeedSchemes)) == 0 {
			m.WebSeeds = nil
		}
		link := MagnetLink(m, 1)
		got, err := ParseMagnet(link)
		if err != nil {
			r.Fatalf("%s: %v", link, err)
		}
		m.Length = 1
		if diff := cmp.Diff(m, got); diff != "" {
			r.Fatalf("%s: (-want +got)\n%s", link, diff)
		}
		if strings.ContainsAny(link, " \n\"<>") {
			r.Fatalf("link %q does not fit in a line", link)
		}
	})
}

// TestTorrentsMagnet: the trackers of all tiers, in their order.
func TestTorrentsMagnet(t *testing.T) {
	tor := &Torrent{Announce: [][]string{{"http://a/", "http://b/"}, {"http://c/"}}, WebSeeds: []string{"http://w/"}}
	tor.Name, tor.InfoHash = "n", [20]byte{7}
	want := &Magnet{InfoHash: tor.InfoHash, Name: "n", Trackers: []string{"http://a/", "http://b/", "http://c/"}, WebSeeds: tor.WebSeeds}
	if diff := cmp.Diff(want, tor.Magnet()); diff != "" {
		t.Error(diff)
	}
}

func TestChannelLink(t *testing.T) {
	key := [32]byte{0xab, 31: 0xcd}
	want := "magnet:?xs=urn:btpk:ab" + strings.Repeat("00", 30) + "cd"
	if got := ChannelLink(key, ""); got != want {
		t.Errorf("link %s", got)
	}
	if got := ChannelLink(key, "web"); got != want+"&s=776562" {
		t.Errorf("link %s", got)
	}
}
