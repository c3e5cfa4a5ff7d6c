package torrentfile

import (
	"encoding/base32"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

const someHash = "0123456789abcdef0123456789abcdef01234567"

func TestParseMagnet(t *testing.T) {
	raw, _ := hex.DecodeString(someHash)
	link := "magnet:?xt=urn:btmh:1220aa&xt=urn:btih:" + someHash + "&dn=some+file&tr=http%3A%2F%2Ft%3A85%2Fannounce&tr.1=udp://u:1&tr=wss://no" +
		"&ws=http://m/f&xs=http://m/f.torrent&xs=urn:sha1:00&as=https://m/all&as=ftp://no&xl=77&x.pe=10.0.0.1:6881&x.pe=seed.dc:6881&x.pe=[fd00::1]:9&x.pe=none&so=0,2,4-6&kt=x"
	got, err := ParseMagnet(link)
	want := &Magnet{InfoHash: [20]byte(raw), Name: "some file", Trackers: []string{"http://t:85/announce", "udp://u:1"}, WebSeeds: []string{"http://m/f"},
		Sources: []string{"http://m/f.torrent"}, Acceptable: []string{"https://m/all"}, Length: 77, Peers: []string{"10.0.0.1:6881", "seed.dc:6881", "[fd00::1]:9"}, Select: Ranges{{0, 0}, {2, 2}, {4, 6}}}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	short, err := ParseMagnet("MAGNET:?xt=URN:BTIH:" + strings.ToLower(base32.StdEncoding.EncodeToString(raw)))
	if err != nil || short.InfoHash != got.InfoHash {
		t.Errorf("base 32: %+v, %v", short, err)
	}
	for _, xl := range []string{"-5", "0", "x", "99999999999999999999"} {
		if m, err := ParseMagnet("magnet:?xt.1=urn:btih:" + someHash + "&xl=" + xl); err != nil || m.Length != 0 || m.InfoHash != got.InfoHash {
			t.Errorf("xl=%s: %+v, %v", xl, m, err)
		}
	}
}

const someKey = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e"

// A link that names a public key (BEP 46) needs no infohash, and its salt may be
// written in two ways.
func TestMagnetOfPublicKey(t *testing.T) {
	key, _ := hex.DecodeString(someKey)
	for salt, want := range map[string][]string{
		"":                            {""},
		"web":                         {"web"},
		"n":                           {"n"},
		"6e":                          {"n", "6e"},
		"666f6f":                      {"foo", "666f6f"},
		"cafe":                        {"cafe", "\xca\xfe"},
		"a b":                         {"a b"},
		strings.Repeat("61", MaxSalt): {strings.Repeat("a", MaxSalt)},
		strings.Repeat("ff", MaxSalt): {strings.Repeat("\xff", MaxSalt)},
		strings.Repeat("z", MaxSalt):  {strings.Repeat("z", MaxSalt)},
	} {
		m, err := ParseMagnet("magnet:?xs=URN:btpk:" + strings.ToUpper(someKey) + "&s=" + url.QueryEscape(salt))
		if err != nil {
			t.Errorf("salt %q: %v", salt, err)
			continue
		}
		var got []string
		for _, s := range m.Salts() {
			got = append(got, string(s))
		}
		if !m.HasPublicKey || m.HasInfoHash() || m.PublicKey != [32]byte(key) || string(m.Salt) != salt || cmp.Diff(want, got) != "" {
			t.Errorf("salt %q: %+v, salts %q", salt, m, got)
		}
	}
	m, err := ParseMagnet("magnet:?xt=urn:btih:" + someHash + "&xs=http://m/t&xs.1=urn:btpk:" + someKey)
	if err != nil || !m.HasPublicKey || !m.HasInfoHash() || len(m.Sources) != 1 {
		t.Errorf("both: %+v, %v", m, err)
	}
	if m, err := ParseMagnet("magnet:?xt=urn:btih:" + someHash + "&s=salt"); err != nil || m.Salt != nil {
		t.Errorf("salt without a key: %+v, %v", m, err)
	}
}

func TestMagnetString(t *testing.T) {
	m := &Magnet{Name: "a b+c&d", Length: 5, Trackers: []string{"http://t:85/announce?a=b&c"}, WebSeeds: []string{"http://m/f"}, Sources: []string{"http://m/t"},
		Acceptable: []string{"http://m/a"}, Peers: []string{"h:1"}, Select: Ranges{{0, 0}, {4, 6}}, HasPublicKey: true, Salt: []byte("web")}
	raw, _ := hex.DecodeString(someHash)
	m.InfoHash = [HashSize]byte(raw)
	want := "magnet:?xt=urn:btih:" + someHash + "&xs=urn:btpk:" + strings.Repeat("0", 64) + "&s=web&dn=a%20b%2Bc%26d&xl=5&tr=http%3A%2F%2Ft%3A85%2Fannounce%3Fa%3Db%26c" +
		"&ws=http%3A%2F%2Fm%2Ff&xs=http%3A%2F%2Fm%2Ft&as=http%3A%2F%2Fm%2Fa&x.pe=h:1&so=0,4-6"
	if got := m.String(); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

// drawMagnet is a link of any content.
func drawMagnet(t *rapid.T) *Magnet {
	list := func(what, head string, most int) []string {
		return rapid.SliceOfNDistinct(rapid.Map(rapid.StringMatching(`[ -~]{0,20}x`), func(s string) string { return head + url.PathEscape(s) }), 0, most, rapid.ID).Draw(t, what)
	}
	m := &Magnet{
		Name: rapid.String().Draw(t, "name"), Length: rapid.Int64Min(0).Draw(t, "length"), HasPublicKey: rapid.Bool().Draw(t, "key"),
		Trackers: list("trackers", "udp://t:1/", 3), WebSeeds: list("web seeds", "http://w/?a&b=", 3), Sources: list("sources", "https://[::1]/", 3),
		Acceptable: list("acceptable", "http://a/+", 3), Peers: rapid.SliceOfN(rapid.SampledFrom([]string{"h:1", "[fd00::1]:65535", "10.0.0.1:6881"}), 0, 4).Draw(t, "peers"),
	}
	if m.HasPublicKey {
		copy(m.PublicKey[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "public key"))
		m.Salt = rapid.SliceOfN(rapid.Byte(), 0, MaxSalt).Draw(t, "salt")
	}
	if !m.HasPublicKey || rapid.Bool().Draw(t, "hash") {
		copy(m.InfoHash[:], rapid.SliceOfN(rapid.ByteMin(1), HashSize, HashSize).Draw(t, "infohash"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "ranges") {
		first := rapid.IntRange(0, MaxFiles).Draw(t, "first")
		m.Select = append(m.Select, Range{first, rapid.IntRange(first, MaxFiles).Draw(t, "last")})
	}
	return m
}

func TestMagnetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawMagnet(t)
		got, err := ParseMagnet(want.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s\n%s", want, diff)
		}
	})
}

func TestParseMagnetRefusals(t *testing.T) {
	for link, want := range map[string]string{
		"http://x":                            "does not begin",
		"magnet:?dn=x":                        "names no torrent",
		"magnet:?xt=urn:btmh:1220" + someHash: "v2 only",
		"magnet:?xt=urn:btih:0123":            "4 digits",
		"magnet:?xt=urn:btih:" + strings.Repeat("zz", 20):                          "infohash",
		"magnet:?xt=urn:btih:" + strings.Repeat("0", 40):                           "zero",
		"magnet:?xs=urn:btpk:00":                                                   "public key",
		"magnet:?xs=urn:btpk:" + strings.Repeat("g", 64):                           "public key",
		"magnet:?xs=urn:btpk:" + someKey + "&s=" + strings.Repeat("x", MaxSalt+1):  "longer than 64",
		"magnet:?xs=urn:btpk:" + someKey + "&s=" + strings.Repeat("61", MaxSalt+1): "longer than 64",
		"magnet:?xs=urn:btpk:" + someKey + "&xt=urn:btih:0123":                     "4 digits",
		"magnet:?xt=urn:btih:" + someHash + "&so=5-2":                              "so:",
		"magnet:?xt=urn:btih:" + someHash + "&so=99999999999":                      "so:",
		"magnet:?" + strings.Repeat("x", MaxMagnet):                                "more than the limit",
		"magnet:?xt=urn:btih:" + someHash + "&dn=%zz":                              "invalid URL escape",
	} {
		if _, err := ParseMagnet(link); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", link, err, want)
		}
	}
}

func FuzzParseMagnet(f *testing.F) {
	f.Add("magnet:?xt=urn:btih:" + someHash + "&tr=http://t/&x.pe=1.2.3.4:5&so=1-2")
	f.Add("magnet:?xs=urn:btpk:" + someKey + "&s=6e&as=http://a/&dn=%ff+%26&xl=1")
	f.Fuzz(func(t *testing.T, link string) {
		m, err := ParseMagnet(link)
		if err == nil && (len(m.Peers) > MaxMagnetPeers || len(m.Trackers) > MaxURLs || len(m.Select) > maxRanges) {
			t.Errorf("%d peers, %d trackers, %d ranges", len(m.Peers), len(m.Trackers), len(m.Select))
		}
		if err != nil || len(m.String()) > MaxMagnet {
			return
		}
		again, err := ParseMagnet(m.String())
		if err != nil || cmp.Diff(m, again, cmpopts.EquateEmpty()) != "" {
			t.Errorf("%s: %v, %s", m, err, cmp.Diff(m, again, cmpopts.EquateEmpty()))
		}
	})
}
