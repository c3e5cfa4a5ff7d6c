package torrentfile

import (
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"distd/internal/layout"
)

func newLayout(t testing.TB, pieceLength int64, files ...layout.File) *layout.Layout {
	t.Helper()
	l, err := layout.New(pieceLength, files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The infohash of what BEP 3 says, computed by hand.
func TestCreateInfo(t *testing.T) {
	one, err := Create("a.iso", false, newLayout(t, 16384, layout.File{Path: "a.iso", Length: 3}), []byte(hashes(1)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "d6:lengthi3e4:name5:a.iso12:piece lengthi16384e6:pieces20:" + hashes(1) + "e"; string(one.InfoBytes) != want || one.InfoHash != sha1.Sum([]byte(want)) {
		t.Errorf("info is %q, want %q", one.InfoBytes, want)
	}
	files := []layout.File{{Path: "w/a", Length: 1}, {Path: "w/d/b"}}
	two, err := Spec{Name: "w", Tree: true, Layout: newLayout(t, 16384, files...), Pieces: []byte(hashes(1)), Private: true}.Create()
	if err != nil {
		t.Fatal(err)
	}
	want := "d5:filesld6:lengthi1e4:pathl1:aeed6:lengthi0e4:pathl1:d1:beee4:name1:w12:piece lengthi16384e6:pieces20:" + hashes(1) + "7:privatei1ee"
	if string(two.InfoBytes) != want || !two.Private || !two.Tree {
		t.Errorf("info is %q, want %q", two.InfoBytes, want)
	}
}

func TestCreateRefuses(t *testing.T) {
	a := layout.File{Path: "a", Length: 1}
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Name: "a"}, "no files"},
		{Spec{Name: "a", Layout: &layout.Layout{PieceLength: 1024}}, "no files"},
		{Spec{Name: "b", Layout: newLayout(t, 16384, a), Pieces: []byte(hashes(1))}, `layout of 1 files, the first "a"`},
		{Spec{Name: "a", Layout: newLayout(t, 16384, a, a), Pieces: []byte(hashes(1))}, "layout of 2 files"},
		{Spec{Name: "a", Tree: true, Layout: newLayout(t, 16384, a), Pieces: []byte(hashes(1))}, "does not begin with the torrent's name"},
		{Spec{Name: "a", Layout: newLayout(t, 16384, a), Pieces: []byte(hashes(2))}, "do not fit"},
		{Spec{Name: "a", Layout: newLayout(t, 100, a), Pieces: []byte(hashes(1))}, "piece length 100"},
		{Spec{Name: "..", Layout: newLayout(t, 16384, layout.File{Path: "..", Length: 1}), Pieces: []byte(hashes(1))}, "not allowed"},
		{Spec{Name: "a", Tree: true, Layout: newLayout(t, 16384, layout.File{Path: "a/x//y", Length: 1}), Pieces: []byte(hashes(1))}, "empty"},
	} {
		_, err := c.spec.Create()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "create torrent") {
			t.Errorf("%+v: error %v, want one with %q", c.spec, err, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Torrent)
		want   string
	}{
		{func(t *Torrent) { t.InfoBytes = []byte("de") }, "not the one of the infohash"},
		{func(t *Torrent) { t.Announce = [][]string{{"bt.local.dc:85/announce"}} }, "tracker: "},
		{func(t *Torrent) { t.Announce = [][]string{{"ftp://bt/announce"}} }, "http, https, udp"},
		{func(t *Torrent) { t.Announce = [][]string{{"http://bt/announce "}} }, "white space"},
		{func(t *Torrent) { t.Announce = [][]string{{"http:announce"}} }, "no host"},
		{func(t *Torrent) { t.Announce = [][]string{make([]string, MaxURLs+1)} }, "more than 1000"},
		{func(t *Torrent) { t.WebSeeds = make([]string, MaxURLs+1) }, "web seed"},
		{func(t *Torrent) { t.WebSeeds = []string{"udp://bt"} }, "web seed: "},
		{func(t *Torrent) { t.WebSeeds = []string{"http://" + strings.Repeat("x", 3000)} }, "longer than 2048"},
		{func(t *Torrent) { t.Extra = map[string][]byte{"x": []byte("i1")} }, `extra field "x": bad bencode`},
		{func(t *Torrent) { t.Comment = strings.Repeat("x", MaxSize) }, "more than the limit"},
	} {
		tr, err := Create("a", false, newLayout(t, 16384, layout.File{Path: "a", Length: 1}), []byte(hashes(1)))
		if err != nil {
			t.Fatal(err)
		}
		c.change(tr)
		if _, err := tr.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// A tracker alone is written as announce only, as the old tools did; none of
// the fields outside the info dictionary changes the infohash.
func TestEncodeTrackers(t *testing.T) {
	tr, err := Create("a", false, newLayout(t, 16384, layout.File{Path: "a", Length: 1}), []byte(hashes(1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tiers [][]string
		want  string
	}{
		{nil, "d4:infod6:"},
		{[][]string{{}}, "d4:infod6:"},
		{[][]string{{"http://a/"}}, "d8:announce9:http://a/4:infod6:"},
		{[][]string{{}, {"http://a/", "udp://b"}}, "d8:announce9:http://a/13:announce-listll9:http://a/7:udp://bee4:infod6:"},
		{[][]string{{"http://a/"}, {"udp://b"}}, "d8:announce9:http://a/13:announce-listll9:http://a/el7:udp://bee4:infod6:"},
	} {
		tr.Announce = c.tiers
		b, err := tr.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), c.want) {
			t.Errorf("%v: %q, want it to begin with %q", c.tiers, b, c.want)
		}
		back, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if back.InfoHash != tr.InfoHash {
			t.Errorf("%v: infohash changed", c.tiers)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tr := drawSpec(r)
		tr.Announce = rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"http://a/announce", "udp://b:1", "https://[::1]:8/x?y=z"}), 1, 3, rapid.ID), 0, 3).Draw(r, "tiers")
		tr.WebSeeds = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"http://a/", "https://b/c%20d"}), 0, 2, rapid.ID).Draw(r, "seeds")
		tr.Comment = rapid.String().Draw(r, "comment")
		tr.CreatedBy = rapid.String().Draw(r, "by")
		tr.Created = time.Unix(rapid.Int64Range(1, 1<<35).Draw(r, "date"), 0).UTC()
		b, err := tr.Encode()
		if err != nil {
			r.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil {
			r.Fatal(err)
		}
		if len(got.Announce) == 0 {
			got.Announce = tr.Announce[:0]
		}
		if len(got.WebSeeds) == 0 {
			got.WebSeeds = tr.WebSeeds[:0]
		}
		diff(t, tr, got)
		if t.Failed() {
			r.FailNow()
		}
	})
}

func drawSpec(r *rapid.T) *Torrent {
	s := Spec{Name: "release", Private: rapid.Bool().Draw(r, "private"), Tree: rapid.Bool().Draw(r, "tree")}
	files := []layout.File{{Path: s.Name, Length: rapid.Int64Range(0, 1<<20).Draw(r, "length")}}
	if s.Tree {
		files = nil
		for i, n := range rapid.SliceOfN(rapid.Int64Range(0, 1<<18), 1, 8).Draw(r, "lengths") {
			files = append(files, layout.File{Path: fmt.Sprintf("release/%d/ß %d", i%3, i), Length: n})
		}
	}
	l, err := layout.New(16384, files)
	if err != nil {
		r.Fatal(err)
	}
	s.Layout, s.Pieces = l, []byte(hashes(l.NumPieces()))
	tr, err := s.Create()
	if err != nil {
		r.Fatal(err)
	}
	return tr
}

func TestPieceLength(t *testing.T) {
	for total, want := range map[int64]int64{
		0: 16 << 10, 1: 16 << 10, 4000 * 16384: 16 << 10, 4000*16384 + 1: 32 << 10, 64 << 20: 32 << 10,
		1 << 30: 512 << 10, 10 << 30: 4 << 20, 1 << 40: 16 << 20, layout.MaxTotal: 16 << 20,
	} {
		if got := PieceLength(total); got != want {
			t.Errorf("%d bytes: %d, want %d", total, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(64<<20, 60<<30).Draw(t, "total")
		if n := total / PieceLength(total); n < 1000 || n > 4000 {
			t.Fatalf("%d bytes in %d pieces", total, n)
		}
	})
}
