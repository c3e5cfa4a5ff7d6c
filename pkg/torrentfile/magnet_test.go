package torrentfile

import (
	"encoding/base32"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someHash = "0123456789abcdef0123456789abcdef01234567"

func TestParseMagnet(t *testing.T) {
	raw, _ := hex.DecodeString(someHash)
	link := "magnet:?xt=urn:btmh:1220aa&xt=urn:btih:" + someHash + "&dn=some+file&tr=http%3A%2F%2Ft%3A85%2Fannounce&tr.1=udp://u:1&tr=wss://no" +
		"&ws=http://m/f&xs=http://m/f.torrent&xs=urn:btpk:00&x.pe=10.0.0.1:6881&x.pe=seed.dc:6881&x.pe=[fd00::1]:9&x.pe=none&so=0,2,4-6&kt=x"
	got, err := ParseMagnet(link)
	want := &Magnet{InfoHash: [20]byte(raw), Name: "some file", Trackers: []string{"http://t:85/announce", "udp://u:1"}, WebSeeds: []string{"http://m/f"},
		Sources: []string{"http://m/f.torrent"}, Peers: []string{"10.0.0.1:6881", "seed.dc:6881", "[fd00::1]:9"}, Select: Ranges{{0, 0}, {2, 2}, {4, 6}}}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	short, err := ParseMagnet("MAGNET:?xt=URN:BTIH:" + strings.ToLower(base32.StdEncoding.EncodeToString(raw)))
	if err != nil || short.InfoHash != got.InfoHash {
		t.Errorf("base 32: %+v, %v", short, err)
	}
}

func TestParseMagnetRefusals(t *testing.T) {
	for link, want := range map[string]string{
		"http://x":                            "does not begin",
		"magnet:?dn=x":                        "names no torrent",
		"magnet:?xt=urn:btmh:1220" + someHash: "v2 only",
		"magnet:?xt=urn:btih:0123":            "4 digits",
		"magnet:?xt=urn:btih:" + strings.Repeat("zz", 20):     "infohash",
		"magnet:?xt=urn:btih:" + someHash + "&so=5-2":         "so:",
		"magnet:?xt=urn:btih:" + someHash + "&so=99999999999": "so:",
		"magnet:?" + strings.Repeat("x", MaxMagnet):           "more than the limit",
		"magnet:?xt=urn:btih:" + someHash + "&dn=%zz":         "invalid URL escape",
	} {
		if _, err := ParseMagnet(link); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", link, err, want)
		}
	}
}

func FuzzParseMagnet(f *testing.F) {
	f.Add("magnet:?xt=urn:btih:" + someHash + "&tr=http://t/&x.pe=1.2.3.4:5&so=1-2")
	f.Fuzz(func(t *testing.T, link string) {
		m, err := ParseMagnet(link)
		if err == nil && (len(m.Peers) > MaxMagnetPeers || len(m.Trackers) > MaxURLs || len(m.Select) > maxRanges) {
			t.Errorf("%d peers, %d trackers, %d ranges", len(m.Peers), len(m.Trackers), len(m.Select))
		}
	})
}
