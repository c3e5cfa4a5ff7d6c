package metalink

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	md5Hex    = strings.Repeat("0a", 16)
	sha1Hex   = strings.Repeat("1b", 20)
	sha256Hex = strings.Repeat("2c", 32)
)

// iso is the document of the old pipeline, with more in it.
func iso() *Document {
	return &Document{
		Origin: "http://bt.master/a.iso.metalink", Dynamic: true, Generator: "distd", Published: time.Unix(1700000000, 0).UTC(),
		Files: []File{{
			Name: "a.iso", Size: 300_000,
			Hashes: map[string]string{"md5": md5Hex, "sha-256": sha256Hex},
			Pieces: &Pieces{Type: "sha-1", Length: 262_144, Hashes: []string{sha1Hex, sha1Hex}},
			URLs: []URL{
				{URL: "https://bt.master.internet.ip/a.iso?x=1&y=2", Priority: 1, Location: "external", Type: "https"},
				{URL: "http://bt.master/a.iso", Priority: 91, Location: "internal", Type: "http"},
				{URL: "ftp://old/a.iso", Priority: LowestPriority, Type: "ftp"},
			},
			Torrents: []URL{{URL: "http://bt.master/a.iso.torrent", Priority: 1, Location: "internal", Type: "torrent"}},
		}},
	}
}

func written(t testing.TB, write func(*bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func v3(t testing.TB, d *Document) string {
	return written(t, func(b *bytes.Buffer) error { return d.WriteV3(b) })
}

func v4(t testing.TB, d *Document) string {
	return written(t, func(b *bytes.Buffer) error { return d.WriteV4(b) })
}

func TestWriteV3(t *testing.T) {
	want := `<?xml version="1.0" encoding="UTF-8"?>
<metalink version="3.0"
  xmlns="http://www.metalinker.org/"
  type="dynamic"
  origin="http://bt.master/a.iso.metalink"
  pubdate="Tue, 14 Nov 2023 22:13:20 +0000"
  generator="distd"
  >
<files>
	<file name="a.iso">
		<size>300000</size>
		<verification>
			<hash type="md5">` + md5Hex + `</hash>
			<hash type="sha256">` + sha256Hex + `</hash>
			<pieces length="262144" type="sha1">
				<hash piece="0">` + sha1Hex + `</hash>
				<hash piece="1">` + sha1Hex + `</hash>
			</pieces>
		</verification>
		<resources>
			<url preference="100" location="external" type="https">https://bt.master.internet.ip/a.iso?x=1&amp;y=2</url>
			<url preference="10" location="internal" type="http">http://bt.master/a.iso</url>
			<url type="ftp">ftp://old/a.iso</url>
			<url type="bittorrent" location="internal" preference="100">http://bt.master/a.iso.torrent</url>
		</resources>
	</file>
</files>
</metalink>
`
	if d := cmp.Diff(want, v3(t, iso())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWriteV4(t *testing.T) {
	want := `<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
	<generator>distd</generator>
	<origin dynamic="true">http://bt.master/a.iso.metalink</origin>
	<published>2023-11-14T22:13:20Z</published>
	<file name="a.iso">
		<size>300000</size>
		<hash type="md5">` + md5Hex + `</hash>
		<hash type="sha-256">` + sha256Hex + `</hash>
		<pieces length="262144" type="sha-1">
			<hash>` + sha1Hex + `</hash>
			<hash>` + sha1Hex + `</hash>
		</pieces>
		<url location="external" priority="1">https://bt.master.internet.ip/a.iso?x=1&amp;y=2</url>
		<url location="internal" priority="91">http://bt.master/a.iso</url>
		<url>ftp://old/a.iso</url>
		<metaurl mediatype="torrent" priority="1">http://bt.master/a.iso.torrent</metaurl>
	</file>
</metalink>
`
	if d := cmp.Diff(want, v4(t, iso())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Document)
		want   string
	}{
		{func(d *Document) { d.Files = nil }, "0 files"},
		{func(d *Document) { d.Files = make([]File, MaxFiles+1) }, "100001 files"},
		{func(d *Document) { d.Origin = "here" }, "origin: "},
		{func(d *Document) { d.Files[0].Name = "../a" }, "not allowed"},
		{func(d *Document) { d.Files = append(d.Files, d.Files[0]) }, "appears twice"},
		{func(d *Document) { d.Files[0].Size = -2 }, "size -2"},
		{func(d *Document) { d.Files[0].Size = 1 << 60 }, "size 1152921504606846976"},
		{func(d *Document) { d.Files[0].Hashes["sha1"] = sha1Hex }, `hash "sha1" is not known`},
		{func(d *Document) { d.Files[0].Hashes["md5"] = strings.ToUpper(md5Hex) }, "not of 32 hex digits"},
		{func(d *Document) { d.Files[0].Pieces.Length = 0 }, "pieces: length 0"},
		{func(d *Document) { d.Files[0].Pieces.Hashes = nil }, "no hashes"},
		{func(d *Document) { d.Files[0].Pieces.Hashes = d.Files[0].Pieces.Hashes[1:] }, "1 hashes do not fit: 300000 bytes in pieces of 262144 are 2"},
		{func(d *Document) { d.Files[0].Pieces.Type = "md5" }, "piece 0: md5 hash"},
		{func(d *Document) { d.Files[0].URLs[0].URL = "rsync://a/b" }, "not http, https or ftp"},
		{func(d *Document) { d.Files[0].Torrents[0].URL = "internal 10 http http://bt.master/a.iso" }, "white space"},
		{func(d *Document) { d.Files[0].Torrents[0].Name = "../x" }, "not allowed"},
		{func(d *Document) { d.Files[0].URLs = make([]URL, MaxURLs) }, "1001 URLs"},
		{func(d *Document) { d.Files[0].Pieces.Type = "md4" }, `hash "md4" is not one of pieces`},
		{func(d *Document) { d.Files[0].Hashes["crc32"] = "0" }, "crc32 hash"},
		{func(d *Document) { d.Files[0].Links = []Link{{URL: "magnet:?"}} }, "has no type"},
		{func(d *Document) { d.Files[0].Links = []Link{{Type: "magnet", URL: "magnet:?\n"}} }, "text"},
		{func(d *Document) { d.Files[0].Signatures = make([]Signature, MaxSignatures+1) }, "17 signatures"},
		{func(d *Document) { d.Files[0].Signatures = []Signature{{Text: strings.Repeat("x", MaxSignature+1)}} }, "signature of 8193 bytes"},
		{func(d *Document) { d.Header = []byte("<a>") }, "with the header: "},
		{func(d *Document) { d.Header = []byte("<!DOCTYPE a>") }, "with the header: "},
		{func(d *Document) { d.Header = []byte("</metalink>") }, "with the header: "},
		{func(d *Document) { d.Header = []byte(`<file name="b"/>`) }, "files of its own"},
		{func(d *Document) { d.Generator = strings.Repeat("x", MaxSize) }, "more than the limit"},
	} {
		d := iso()
		c.change(d)
		var b bytes.Buffer
		for _, err := range []error{d.WriteV3(&b), d.WriteV4(&b)} {
			if err == nil || !strings.Contains(err.Error(), c.want) || b.Len() > 0 {
				t.Errorf("error %v and %d bytes, want an error with %q and none", err, b.Len(), c.want)
			}
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("no space") }

func TestWriteError(t *testing.T) {
	if err := iso().WriteV4(full{}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Error(err)
	}
}

func TestTiers(t *testing.T) {
	f := File{URLs: []URL{
		{URL: "http://d/", Priority: 0}, {URL: "http://b/", Priority: 7}, {URL: "ftp://x/", Priority: 1},
		{URL: "HTTPS://a/", Priority: 3}, {URL: "https://c/", Priority: 7}, {URL: "http://e/", Priority: LowestPriority},
	}}
	var got []string
	for _, tier := range f.Tiers() {
		s := ""
		for _, u := range tier {
			s += u.URL + " "
		}
		got = append(got, s)
	}
	if d := cmp.Diff([]string{"HTTPS://a/ ", "http://b/ https://c/ ", "http://d/ http://e/ "}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if (&File{}).Tiers() != nil {
		t.Error("tiers of nothing")
	}
}

func TestPreference(t *testing.T) {
	for preference, priority := range map[int]int{100: 1, 1: 100, 10: 91, 0: LowestPriority, -3: LowestPriority, 101: LowestPriority} {
		if got := Priority(preference); got != priority {
			t.Errorf("preference %d: priority %d, want %d", preference, got, priority)
		}
	}
	for priority, preference := range map[int]int{1: 100, 100: 1, 101: 0, LowestPriority: 0, 0: 0} {
		if got := Preference(priority); got != preference {
			t.Errorf("priority %d: preference %d, want %d", priority, got, preference)
		}
	}
}

func drawURL(t *rapid.T, kind string) URL {
	s := rapid.SampledFrom([]string{"http", "https", "ftp"}).Draw(t, "scheme")
	u := URL{
		URL:      s + "://h" + rapid.StringMatching(`(/[a-z%&'"<>]?)*`).Filter(func(s string) bool { return !strings.Contains(s, "%") }).Draw(t, "path"),
		Priority: Priority(rapid.IntRange(0, 100).Draw(t, "preference")),
		Location: rapid.SampledFrom([]string{"", "de", "internal", "<&>"}).Draw(t, "location"),
		Type:     s,
	}
	if kind == "torrent" {
		u.Type, u.Location = kind, ""
	}
	return u
}

func drawDocument(t *rapid.T) *Document {
	d := &Document{Generator: rapid.SampledFrom([]string{"", "distd", "<&>"}).Draw(t, "generator")}
	if rapid.Bool().Draw(t, "origin") {
		d.Origin, d.Dynamic = "http://o/?a&b", rapid.Bool().Draw(t, "dynamic")
		d.Published = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "published"), 0).UTC()
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "files") {
		f := File{
			Name: fmt.Sprintf("%d/%s", i, rapid.SampledFrom([]string{"a", " a ", "ß", `<&"'>`, "a/b/c"}).Draw(t, "name")),
			Size: rapid.Int64Range(-1, 100).Draw(t, "size"), Hashes: map[string]string{},
		}
		for _, h := range hashOrder {
			if rapid.Bool().Draw(t, h) {
				f.Hashes[h] = strings.Repeat("0f", hashSizes[h]/2)
			}
		}
		if f.Size > 0 && rapid.Bool().Draw(t, "pieces") {
			f.Pieces = &Pieces{Type: "sha-1", Length: 10}
			for range (f.Size + 9) / 10 {
				f.Pieces.Hashes = append(f.Pieces.Hashes, sha1Hex)
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "urls") {
			f.URLs = append(f.URLs, drawURL(t, ""))
		}
		for range rapid.IntRange(0, 2).Draw(t, "torrents") {
			f.Torrents = append(f.Torrents, drawURL(t, "torrent"))
		}
		if rapid.Bool().Draw(t, "signature") {
			f.Signatures = []Signature{{MediaType: SignaturePGP, Text: "-----BEGIN\r\n<&>\"\n\n=x"}}
		}
		d.Files = append(d.Files, f)
	}
	return d
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawDocument(r)
		for version, text := range map[string]string{"v3": v3(t, want), "v4": v4(t, want)} {
			got, err := Parse(strings.NewReader(text))
			if err != nil {
				r.Fatalf("%s: %v\n%s", version, err, text)
			}
			if d := cmp.Diff(want, got); d != "" {
				r.Fatalf("%s (-want +got):\n%s\n%s", version, d, text)
			}
		}
	})
}
