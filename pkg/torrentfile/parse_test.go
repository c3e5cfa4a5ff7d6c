package torrentfile

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/google/go-cmp/cmp"

	"distd/internal/layout"
)

type dict = map[string]any

// encode bencodes with another implementation than the package's own.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := bencode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// single is the info of a file of 40,000 bytes, tree that of three files of as
// many, both with some keys set otherwise; nil takes a key away.
func single(set dict) dict {
	return with(dict{"name": "a.iso", "length": 40000, "piece length": 16384, "pieces": hashes(3)}, set)
}

func tree(files ...any) dict {
	return dict{"name": "web", "files": files, "piece length": 16384, "pieces": hashes(3)}
}

func file(length int, path ...string) dict { return dict{"length": length, "path": path} }

func with(d, set dict) dict {
	d = maps.Clone(d)
	for k, v := range set {
		if d[k] = v; v == nil {
			delete(d, k)
		}
	}
	return d
}

func hashes(n int) string {
	var b strings.Builder
	for i := range n {
		h := sha1.Sum([]byte{byte(i)})
		b.Write(h[:])
	}
	return b.String()
}

func TestParseSingle(t *testing.T) {
	info := encode(t, single(nil))
	b := encode(t, dict{
		"info":          bencode.Bytes(info),
		"announce":      "http://bt.local.dc:85/announce",
		"comment":       "hello",
		"created by":    "test",
		"creation date": 1700000000,
		"url-list":      "https://a/a.iso",
		"httpseeds":     []string{"http://old/seed"},
		"nodes":         []string{"x"},
	})
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &Torrent{
		Name: "a.iso", Pieces: []byte(hashes(3)), InfoBytes: info, InfoHash: sha1.Sum(info),
		Announce: [][]string{{"http://bt.local.dc:85/announce"}},
		WebSeeds: []string{"https://a/a.iso"}, Comment: "hello", CreatedBy: "test",
		Created:   time.Unix(1700000000, 0).UTC(),
		HTTPSeeds: []string{"http://old/seed"},
		Extra:     map[string][]byte{"nodes": []byte("l1:xe")},
	}
	if want.Layout, err = layout.New(16384, []layout.File{{Path: "a.iso", Length: 40000}}); err != nil {
		t.Fatal(err)
	}
	diff(t, want, got)
	if h := sha1.Sum([]byte{2}); got.PieceHash(2) != h {
		t.Errorf("hash of piece 2 is %x, want %x", got.PieceHash(2), h)
	}
	again, err := got.Encode()
	if err != nil {
		t.Fatal(err)
	}
	reparsed, err := Parse(append(again, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, got, reparsed)
}

func diff(t testing.TB, want, got *Torrent) {
	t.Helper()
	opts := cmp.Options{
		cmp.Transformer("layout", func(l *layout.Layout) any { return struct{ A, B any }{l.PieceLength, l.Files} }),
	}
	if d := cmp.Diff(want, got, opts); d != "" {
		t.Errorf("torrents differ (-want +got):\n%s", d)
	}
}

func TestParseTree(t *testing.T) {
	info := tree(
		file(20000, "index.html"),
		dict{"length": 12768, "attr": "p", "path": []string{".pad", "12768"}},
		dict{"length": 0, "path": []string{"\xff\xfe"}, "path.utf-8": []string{"img", "ö.png"}},
		dict{"length": 3000, "path": []string{"bin", "run"}, "attr": "x"},
		dict{"length": 500, "attr": "p"},
		dict{"length": 500, "attr": "p", "path": []string{".pad", "12768"}},
	)
	info["name"], info["name.utf-8"] = "\xff", "wéb"
	got, err := ParseInfo(encode(t, info))
	if err != nil {
		t.Fatal(err)
	}
	files := []layout.File{
		{Path: "wéb/index.html", Length: 20000}, {Path: "wéb/.pad/12768", Length: 12768}, {Path: "wéb/img/ö.png"},
		{Path: "wéb/bin/run", Length: 3000}, {Path: "wéb/.pad/500", Length: 500}, {Path: "wéb/.pad/12768", Length: 500},
	}
	if d := cmp.Diff(files, got.Layout.Files); d != "" {
		t.Errorf("files differ (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]bool{false, true, false, false, true, true}, got.Padding); d != "" {
		t.Errorf("padding differs (-want +got):\n%s", d)
	}
	if !got.Tree || got.Name != "wéb" {
		t.Errorf("name %q, tree %v", got.Name, got.Tree)
	}
}

func TestParseWithoutBytes(t *testing.T) {
	for _, info := range []dict{
		single(dict{"length": 0, "pieces": ""}),
		with(tree(file(0, "a"), file(0, "b")), dict{"pieces": ""}),
		with(tree(file(1, "a")), dict{"pieces": hashes(1)}),
	} {
		tr, err := ParseInfo(encode(t, info))
		if err != nil {
			t.Errorf("%v: %v", info, err)
		} else if tr.Layout.NumPieces() != len(tr.Pieces)/HashSize || tr.Padding != nil {
			t.Errorf("%v: %d pieces, padding %v", info, tr.Layout.NumPieces(), tr.Padding)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	for v, want := range map[int]bool{0: false, 1: true} {
		tr, err := ParseInfo(encode(t, single(dict{"private": v})))
		if err != nil || tr.Private != want {
			t.Errorf("private=%d: %v, %v", v, tr, err)
		}
	}
}

func TestParseTrackers(t *testing.T) {
	for _, c := range []struct {
		outer dict
		want  [][]string
	}{
		{dict{}, nil},
		{dict{"announce": ""}, nil},
		{dict{"announce": "wss://t/announce"}, nil},
		{dict{"announce": " http://t/a "}, [][]string{{"http://t/a"}}},
		{dict{"announce": "http://t/a", "announce-list": []any{[]string{"udp://b:1"}, []string{"http://c/", "http://c/"}}},
			[][]string{{"udp://b:1"}, {"http://c/"}}},
		{dict{"announce": "http://t/a", "announce-list": []any{}}, [][]string{{"http://t/a"}}},
		{dict{"announce": "http://t/a", "announce-list": []any{[]string{"wss://x", ""}}}, [][]string{{"http://t/a"}}},
		{dict{"announce-list": []any{"http://d/a", []string{}}}, [][]string{{"http://d/a"}}},
		{dict{"announce": "http://t/\xff"}, nil},
		{dict{"announce": "http://" + strings.Repeat("t", MaxURLLength)}, nil},
		{dict{"announce": "http:///announce"}, nil},
		{dict{"announce": "http://t/a\nb"}, nil},
	} {
		tr, err := Parse(encode(t, with(dict{"info": single(nil)}, c.outer)))
		if err != nil {
			t.Errorf("%v: %v", c.outer, err)
			continue
		}
		if d := cmp.Diff(c.want, tr.Announce); d != "" {
			t.Errorf("%v: trackers differ (-want +got):\n%s", c.outer, d)
		}
	}
}

func TestParseWebSeeds(t *testing.T) {
	for _, c := range []struct {
		list any
		want []string
	}{
		{"", nil},
		{[]string{}, nil},
		{"http://a/x", []string{"http://a/x"}},
		{[]string{"http://a/", "ftp://a/", "https://b/c?d=e", "http://a/", "file:///etc/passwd"}, []string{"http://a/", "https://b/c?d=e"}},
	} {
		tr, err := Parse(encode(t, dict{"info": single(nil), "url-list": c.list}))
		if err != nil {
			t.Errorf("%v: %v", c.list, err)
			continue
		}
		if d := cmp.Diff(c.want, tr.WebSeeds); d != "" {
			t.Errorf("%v: web seeds differ (-want +got):\n%s", c.list, d)
		}
	}
}

func TestParseRefusesInfo(t *testing.T) {
	long := make([]string, 40)
	for i := range long {
		long[i] = "d"
	}
	for _, c := range []struct {
		info dict
		want string
	}{
		{single(dict{"name": nil}), "no name"},
		{single(dict{"name": 1}), `"name": a bencoded integer`},
		{single(dict{"name": ""}), "name is empty"},
		{single(dict{"name": ".."}), `name ".." is not allowed`},
		{single(dict{"name": "a/b"}), "slash"},
		{single(dict{"name": `a\b`}), "backslash"},
		{single(dict{"name": "\xff"}), "not valid UTF-8"},
		{single(dict{"name": "e\u0301"}), "NFC"},
		{single(dict{"name": "a\x00"}), "control character"},
		{single(dict{"name": ".distd"}), "distd's own"},
		{single(dict{"name": strings.Repeat("n", 256)}), "longer than 255"},
		{single(dict{"length": nil}), "neither a length nor a list"},
		{single(dict{"length": nil, "pieces": nil, "file tree": dict{}, "meta version": 2}), "v2 only"},
		{single(dict{"files": []any{file(1, "x")}}), "both a length and a list"},
		{single(dict{"length": -1}), `file "a.iso": length -1 is negative`},
		{single(dict{"length": "40000"}), `file "a.iso": length: a bencoded string`},
		{single(dict{"length": uint64(1) << 63}), "9223372036854775808 is out of range"},
		{single(dict{"length": layout.MaxTotal + 1}), "takes the release over"},
		{single(dict{"piece length": nil}), "no piece length"},
		{single(dict{"piece length": 0}), "piece length 0 is not between"},
		{single(dict{"piece length": -16384}), "piece length -16384"},
		{single(dict{"piece length": 512}), "piece length 512"},
		{single(dict{"piece length": 128 << 20}), "piece length 134217728"},
		{single(dict{"pieces": nil}), "no piece hashes"},
		{single(dict{"pieces": hashes(2)}), "40000 bytes in pieces of 16384 are 3 pieces, which need 60"},
		{single(dict{"pieces": hashes(4)}), "80 bytes of piece hashes do not fit"},
		{single(dict{"pieces": hashes(3)[1:]}), "59 bytes of piece hashes do not fit"},
		{single(dict{"length": layout.MaxTotal, "piece length": 1024}), "1099511627776 pieces, which need 21990232555520"},
		{single(dict{"private": "yes"}), `"private"`},
		{tree(), "no files"},
		{tree(dict{"length": 1}), "file 0: it has no path"},
		{tree(file(1)), "file 0: it has no path"},
		{tree(dict{"path": []string{"a"}}), "file 0: it has no length"},
		{tree(file(40000, "a"), file(-5, "b", "c")), `file 1: "web/b/c": length -5 is negative`},
		{tree(file(1, "..")), `file 0: path "web/..": name ".." is not allowed`},
		{tree(file(1, "a", "..", "..", "etc")), `".." is not allowed`},
		{tree(file(1, "/etc/passwd")), `"/etc/passwd" has a slash`},
		{tree(file(1, "a", "")), "name is empty"},
		{tree(file(1, "a\\b")), "backslash"},
		{tree(file(1, "a"), file(1, "a")), `file 1: path "web/a" appears twice`},
		{tree(file(1, "a"), file(1, "A")), "differ only in case"},
		{tree(file(1, "a"), file(1, "a", "b")), "is a file and a folder"},
		{tree(file(1, long...)), "deeper than 32"},
		{tree(file(1, strings.Repeat("x", 300))), "longer than 255"},
		{tree(file(1, strings.Repeat("x", 200), strings.Repeat("y", 900))), "longer than 1024"},
		{tree(file(1, "\xff")), "not valid UTF-8"},
		{tree(dict{"length": 1, "path": "a"}), "path: a bencoded string"},
		{tree(dict{"length": 1, "path": []any{1}}), "path: a bencoded integer"},
		{tree(dict{"length": 0, "path": []string{"l"}, "attr": "l", "symlink path": []string{"a"}}), "file 0: it is a symlink"},
		{tree(file(1, "a"), dict{"length": 1, "path": []string{"a"}, "attr": "p"}), "appears twice"},
		{tree(dict{"length": 1, "path": []string{"a"}, "attr": "p"}, file(1, "a")), "appears twice"},
		{tree(dict{"length": -1, "attr": "p"}), "length -1 is negative"},
		{tree("a"), "file 0: a bencoded string"},
		{tree(file(int(layout.MaxTotal), "a"), file(1, "b")), `file "web/b"`},
		{with(tree(), dict{"files": "x"}), `"files": a bencoded string`},
	} {
		_, err := ParseInfo(encode(t, c.info))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200s: error %v, want one with %q", fmt.Sprint(c.info), err, c.want)
		}
		if err != nil && len(err.Error()) > 3000 {
			t.Errorf("message of %d bytes: %.100s", len(err.Error()), err)
		}
	}
}

func TestParseRefusesOuter(t *testing.T) {
	good := string(encode(t, single(nil)))
	many := make([]string, MaxURLs+1)
	for i := range many {
		many[i] = fmt.Sprintf("http://t%d/", i)
	}
	keys := dict{"info": single(nil)}
	for i := range maxKeys {
		keys[fmt.Sprint(i)] = 0
	}
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "too early"},
		{"a web page", []byte("<html>"), "begins no value"},
		{"a list", []byte("le"), "a bencoded list stands where a dictionary"},
		{"no info", []byte("de"), "no info dictionary"},
		{"info is a string", []byte("d4:info1:ae"), "info: a bencoded string"},
		{"two infos", []byte("d4:info" + good + "4:info" + good + "e"), `key "info" appears twice`},
		{"unsorted", []byte("d4:info" + good + "1:a0:e"), "not in sorted order"},
		{"more behind it", []byte("d4:info" + good + "ex"), "bytes too many"},
		{"cut off", []byte("d4:info" + good), "too early"},
		{"deep", []byte("d1:a" + strings.Repeat("l", 1e5)), "levels deep"},
		{"too large", make([]byte, MaxSize+1), "more than the limit"},
		{"too many keys", encode(t, keys), "more than 1000 keys"},
		{"too many trackers", encode(t, dict{"info": single(nil), "announce-list": []any{many[:600], many[:600]}}), "more than 1000 trackers"},
		{"too many in a tier", encode(t, dict{"info": single(nil), "announce-list": []any{many}}), "more than 1000 URLs"},
		{"too many seeds", encode(t, dict{"info": single(nil), "url-list": many}), `"url-list": more than 1000 URLs`},
		{"announce", encode(t, dict{"info": single(nil), "announce": 1}), `"announce": a bencoded integer`},
		{"announce-list", encode(t, dict{"info": single(nil), "announce-list": "x"}), `"announce-list": a bencoded string`},
		{"comment", encode(t, dict{"info": single(nil), "comment": 1}), `"comment": a bencoded integer`},
		{"date", encode(t, dict{"info": single(nil), "creation date": "now"}), `"creation date": a bencoded string`},
	} {
		_, err := Parse(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := ParseInfo(make([]byte, MaxSize+1)); err == nil {
		t.Error("too large info accepted")
	}
	if _, err := ParseInfo([]byte("d")); err == nil {
		t.Error("half an info accepted")
	}
}

func TestParseRefusesMillionsOfFiles(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("d5:filesl")
	for range MaxFiles + 1 {
		b.WriteString("d6:lengthi0e4:pathl1:aee")
	}
	b.WriteString("e4:name1:n12:piece lengthi16384e6:pieces0:e")
	_, err := ParseInfo(b.Bytes())
	if err == nil || !strings.Contains(err.Error(), "1048577 files, more than the limit of 1048576") {
		t.Error(err)
	}
}

// A few dozen bytes can name 31 folders. Checking their names must not take
// memory out of all proportion.
func TestParseRefusesMillionsOfFolders(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("d5:filesl")
	deep := strings.Repeat("1:d", 29)
	for i := range 200_000 {
		fmt.Fprintf(&b, "d6:lengthi0e4:pathl6:%06d%s1:fee", i, deep)
	}
	b.WriteString("e4:name1:n12:piece lengthi16384e6:pieces0:e")
	_, err := ParseInfo(b.Bytes())
	if err == nil || !strings.Contains(err.Error(), "too many folders") {
		t.Error(err)
	}
}
