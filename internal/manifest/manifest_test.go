package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testKey makes a key.
func testKey(t testing.TB) PrivateKey {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// fileRelease returns a release of a file of 2,500 bytes.
func fileRelease() *Manifest {
	return &Manifest{
		Format: Format, Channel: "web", Name: "site.tar", Kind: KindFile, Serial: 7,
		Created: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Expires: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC),
		Size:     2500,
		Files:    []File{{Path: "site.tar", Size: 2500, Mode: 0o644, MTime: 1700000000, SHA256: strings.Repeat("ab", 32), MD5: strings.Repeat("cd", 16)}},
		InfoHash: strings.Repeat("12", 20), PieceLength: 1024, Pieces: bytes.Repeat([]byte{1, 2, 3}, 32),
		Mirrors: []Mirror{{URL: "https://mirror.example/a%20b/site.tar?x=1", Preference: 100, Location: "external"}},
	}
}

// treeRelease returns a release of a tree with everything that a tree can have.
func treeRelease() *Manifest {
	m := fileRelease()
	m.Kind, m.Name, m.Expires = KindTree, "Größe <&> \u2028", time.Time{}
	m.Mirrors[0].URL = "https://mirror.example/tree/"
	m.Files = []File{
		{Path: "a/empty", Mode: 0o600, MTime: -1, SHA256: strings.Repeat("00", 32)},
		{Path: "a/link", Symlink: "../b \"quoted\""},
		{Path: "b \"quoted\"", Size: 2500, Mode: 0o755, SHA256: strings.Repeat("ab", 32)},
	}
	m.Dirs = []Dir{{Path: ".", Mode: 0o755}, {Path: "a", Mode: 0o700, MTime: 5}, {Path: "hollow", Mode: 0o755}}
	return m
}

func mustEncode(t testing.TB, m *Manifest) []byte {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	k := testKey(t)
	ordered := treeRelease()
	ordered.SetOrder([]int{2, 0})
	wrong := treeRelease()
	wrong.Order = []byte{0, 2}
	if _, err := wrong.Encode(); !errors.Is(err, errOrder) {
		t.Errorf("an order that is none: %v", err)
	}
	for _, m := range []*Manifest{fileRelease(), treeRelease(), ordered} {
		data := mustEncode(t, m)
		got, id, err := Open(k.Public(), data, Sign(k, data, "comment"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("manifest changed on its way:\n%s", diff)
		}
		if id != ID(data) || !ValidID(id) {
			t.Errorf("ID %q is not the digest of the data", id)
		}
		p := got.Pointer(id)
		pdata, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p2, err := OpenPointer(k.Public(), pdata, Sign(k, pdata, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := p2.Matches(got, id); err != nil {
			t.Error(err)
		}
		p2.Serial++
		if err := p2.Matches(got, id); !errors.Is(err, ErrMalformed) {
			t.Errorf("pointer with another serial: %v", err)
		}
	}
}

func TestEncodingIsSortedAndUnescaped(t *testing.T) {
	data := string(mustEncode(t, treeRelease()))
	if !strings.Contains(data, "\"name\":\"Größe <&> \u2028\"") {
		t.Errorf("name is escaped: %s", data)
	}
	for _, typ := range []any{Manifest{}, File{}, Dir{}, Mirror{}, Pointer{}} {
		var keys []string
		for i := range reflect.TypeOf(typ).NumField() {
			key, _, _ := strings.Cut(reflect.TypeOf(typ).Field(i).Tag.Get("json"), ",")
			keys = append(keys, key)
		}
		if !slices.IsSorted(keys) {
			t.Errorf("keys of %T are not sorted: %v", typ, keys)
		}
	}
}

func TestEmptyFile(t *testing.T) {
	m := fileRelease()
	m.Size, m.Pieces, m.Files[0].Size = 0, nil, 0
	data := mustEncode(t, m)
	k := testKey(t)
	got, _, err := Open(k.Public(), data, Sign(k, data, ""))
	if err != nil {
		t.Fatal(err)
	}
	l, err := got.Layout()
	if err != nil || l.NumPieces() != 0 {
		t.Errorf("layout of an empty file: %d pieces, %v", l.NumPieces(), err)
	}
}

func TestLayout(t *testing.T) {
	m := treeRelease()
	l, err := m.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Files) != 2 || l.Files[0].Path != m.Name+"/a/empty" || l.Files[1].Path != m.Name+"/b \"quoted\"" || l.Total != 2500 {
		t.Errorf("layout %+v", l.Files)
	}
	if got := m.PieceHash(1); got != [32]byte(m.Pieces[32:64]) {
		t.Errorf("hash of piece 1: %x", got)
	}
	if got := m.Mirrors[0].FileURL(m.Kind, "a b/ü"); got != "https://mirror.example/tree/a%20b/%C3%BC" {
		t.Errorf("URL of a file: %s", got)
	}
	if f := fileRelease(); f.Mirrors[0].FileURL(f.Kind, f.Name) != f.Mirrors[0].URL {
		t.Error("URL of a single file is not its mirror's")
	}
}

// TestBrokenRules changes one thing at a time: neither Encode nor Open of the
// changed release, rightly signed, may accept it.
func TestBrokenRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		tree  bool
		spoil func(*Manifest)
		want  string
	}{
		{"format", false, func(m *Manifest) { m.Format = 2 }, "update distd"},
		{"channel", false, func(m *Manifest) { m.Channel = "Web/.." }, "not allowed"},
		{"name", false, func(m *Manifest) { m.Name = "../x" }, "slash"},
		{"own name", false, func(m *Manifest) { m.Name = ".distd" }, "own"},
		{"kind", false, func(m *Manifest) { m.Kind = "disk" }, "kind"},
		{"serial 0", false, func(m *Manifest) { m.Serial = 0 }, "serial"},
		{"huge serial", false, func(m *Manifest) { m.Serial = MaxSerial + 1 }, "serial"},
		{"no created", false, func(m *Manifest) { m.Created = time.Time{} }, "created"},
		{"fraction", false, func(m *Manifest) { m.Created = m.Created.Add(1) }, "whole seconds"},
		{"expires before", false, func(m *Manifest) { m.Expires = m.Created }, "expires"},
		{"infohash", false, func(m *Manifest) { m.InfoHash = strings.Repeat("AB", 20) }, "infohash"},
		{"no files", false, func(m *Manifest) { m.Files, m.Size, m.Pieces = nil, 0, nil }, "no files"},
		{"size", false, func(m *Manifest) { m.Size++ }, "sum"},
		{"negative size", false, func(m *Manifest) { m.Size, m.Files[0].Size, m.Pieces = -5, -5, nil }, "negative"},
		{"huge size", false, func(m *Manifest) { m.Files[0].Size = 1 << 62 }, "over"},
		{"mode", false, func(m *Manifest) { m.Files[0].Mode = 0o4755 }, "mode"},
		{"mtime", false, func(m *Manifest) { m.Files[0].MTime = MaxMTime + 1 }, "mtime"},
		{"sha256", false, func(m *Manifest) { m.Files[0].SHA256 = "xy" }, "sha256"},
		{"no sha256", false, func(m *Manifest) { m.Files[0].SHA256 = "" }, "sha256"},
		{"md5", false, func(m *Manifest) { m.Files[0].MD5 = "xy" }, "md5"},
		{"other path", false, func(m *Manifest) { m.Files[0].Path = "other" }, "called like"},
		{"symlink alone", false, func(m *Manifest) { m.Files[0].Symlink = "x" }, "symlink"},
		{"folder beside file", false, func(m *Manifest) { m.Dirs = []Dir{{Path: "x"}} }, "no folders"},
		{"piece length", false, func(m *Manifest) { m.PieceLength = 1000 }, "power of two"},
		{"piece length 0", false, func(m *Manifest) { m.PieceLength = 0 }, "power of two"},
		{"too few pieces", false, func(m *Manifest) { m.Pieces = m.Pieces[:64] }, "piece hashes"},
		{"half a hash", false, func(m *Manifest) { m.Pieces = m.Pieces[:95] }, "piece hashes"},
		{"unsorted", true, func(m *Manifest) { slices.Reverse(m.Files) }, "sorted"},
		{"twice", true, func(m *Manifest) { m.Files[0] = m.Files[1] }, "sorted"},
		{"case", true, func(m *Manifest) { m.Files[1].Path = "a/EMPTY"; slices.Reverse(m.Files[:2]) }, "case"},
		{"file is folder", true, func(m *Manifest) { m.Dirs[2].Path = "b \"quoted\"" }, "folder"},
		{"dots", true, func(m *Manifest) { m.Files[0].Path = "../empty" }, "not allowed"},
		{"absolute", true, func(m *Manifest) { m.Files[0].Path = "/empty" }, "empty"},
		{"link leaves", true, func(m *Manifest) { m.Files[1].Symlink = "../../b" }, "leave"},
		{"absolute link", true, func(m *Manifest) { m.Files[1].Symlink = "/etc/passwd" }, "link"},
		{"link with line break", true, func(m *Manifest) { m.Files[1].Symlink = "a\nb" }, "control"},
		{"link with size", true, func(m *Manifest) { m.Files[1].Size = 1 }, "no size"},
		{"folder mode", true, func(m *Manifest) { m.Dirs[0].Mode = 0o1777 }, "mode"},
		{"folder mtime", true, func(m *Manifest) { m.Dirs[0].MTime = MinMTime - 1 }, "mtime"},
		{"folders unsorted", true, func(m *Manifest) { slices.Reverse(m.Dirs) }, "sorted"},
		{"folder name", true, func(m *Manifest) { m.Dirs[2].Path = "a//b" }, "empty"},
		{"mirror scheme", false, func(m *Manifest) { m.Mirrors[0].URL = "file:///etc/passwd" }, "neither http"},
		{"mirror without host", false, func(m *Manifest) { m.Mirrors[0].URL = "https:///x" }, "host"},
		{"mirror with password", false, func(m *Manifest) { m.Mirrors[0].URL = "https://u:p@h/x" }, "password"},
		{"mirror with fragment", false, func(m *Manifest) { m.Mirrors[0].URL = "https://h/x#y" }, "fragment"},
		{"mirror with space", false, func(m *Manifest) { m.Mirrors[0].URL = "https://h/x y" }, "percent"},
		{"mirror long", false, func(m *Manifest) { m.Mirrors[0].URL = "https://h/" + strings.Repeat("x", 2048) }, "longer"},
		{"mirror port", false, func(m *Manifest) { m.Mirrors[0].URL = "https://h:port/" }, "port"},
		{"mirror of tree", true, func(m *Manifest) { m.Mirrors[0].URL = "https://h/x" }, "slash"},
		{"preference", false, func(m *Manifest) { m.Mirrors[0].Preference = 0 }, "preference"},
		{"location", false, func(m *Manifest) { m.Mirrors[0].Location = "A B" }, "location"},
		{"mirrors", false, func(m *Manifest) { m.Mirrors = slices.Repeat(m.Mirrors, MaxMirrors+1) }, "mirrors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := fileRelease()
			if c.tree {
				m = treeRelease()
			}
			c.spoil(m)
			if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Encode: error %v, want one with %q", err, c.want)
			}
			k := testKey(t)
			data, err := m.marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(k.Public(), data, Sign(k, data, "")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: error %v, want ErrMalformed with %q", err, c.want)
			}
		})
	}
}

// TestOtherSpellings signs encodings that say the same in other bytes, or more.
func TestOtherSpellings(t *testing.T) {
	k := testKey(t)
	data := string(mustEncode(t, fileRelease()))
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", `{"channel"`, `{"answer":42,"channel"`, "unknown field"},
		{"unknown field of a file", `{"md5"`, `{"answer":42,"md5"`, "unknown field"},
		{"duplicate field", `"format":1`, `"format":1,"format":1`, "canonical"},
		{"other case", `"format"`, `"Format"`, "canonical"},
		{"null", `"format":1`, `"dirs":null,"format":1`, "canonical"},
		{"white space", `"format":1`, `"format": 1`, "canonical"},
		{"line break at the end", `"size":2500}`, "\"size\":2500}\n", "sum"},
		{"escape", `"web"`, `"\u0077eb"`, "canonical"},
		{"time zone", `12:00:00Z`, `12:00:00+00:00`, "canonical"},
		{"offset", `2026-03-01T12:00:00Z`, `2026-03-01T13:00:00+01:00`, "canonical"},
		{"zero expires", `"2026-04-01T12:00:00Z"`, `"0001-01-01T00:00:00Z"`, "canonical"},
		{"exponent", `"serial":7`, `"serial":7e0`, "malformed"},
		{"fraction", `"serial":7`, `"serial":7.5`, "malformed"},
		{"overflow", `"serial":7`, `"serial":99999999999999999999`, "malformed"},
		{"negative", `"serial":7`, `"serial":-7`, "malformed"},
		{"other type", `"serial":7`, `"serial":"7"`, "malformed"},
		{"trailing value", `"pieces":`, `"pieces":`, ""},
		{"half", `"serial":7`, ``, "malformed"},
	} {
		changed := strings.Replace(data, c.old, c.new, 1)
		if c.want == "" {
			changed, c.want = data+`{}`, "behind its end"
		}
		if changed == data {
			t.Fatalf("%s: nothing to replace in %s", c.name, data)
		}
		if c.name == "line break at the end" {
			changed, c.want = data+"\n", "canonical"
		}
		_, _, err := Open(k.Public(), []byte(changed), Sign(k, []byte(changed), ""))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want ErrMalformed with %q", c.name, err, c.want)
		}
	}
}

func TestCaps(t *testing.T) {
	k := testKey(t)
	big := bytes.Repeat([]byte(" "), MaxManifest+1)
	if _, _, err := Open(k.Public(), big, Sign(k, big, "")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("big manifest: %v", err)
	}
	big = big[:MaxPointer+1]
	if _, err := OpenPointer(k.Public(), big, Sign(k, big, "")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("big pointer: %v", err)
	}
	many := []byte(`{"files":[{}` + strings.Repeat(`,{}`, MaxEntries+MaxMirrors+MaxDeltas+1) + `]}`)
	if _, _, err := Open(k.Public(), many, Sign(k, many, "")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "deltas are more") {
		t.Errorf("many files: %v", err)
	}
	if n := countObjects([]byte(`{"a{\"{":{},"b":"\\"}{`)); n != 3 {
		t.Errorf("counted %d objects, want 3", n)
	}
}

func TestPointerRules(t *testing.T) {
	k := testKey(t)
	for name, spoil := range map[string]func(*Pointer){
		"manifest": func(p *Pointer) { p.Manifest = "../../etc" },
		"infohash": func(p *Pointer) { p.InfoHash = "x" },
		"channel":  func(p *Pointer) { p.Channel = "" },
		"name":     func(p *Pointer) { p.Name = ".." },
		"serial":   func(p *Pointer) { p.Serial = 0 },
	} {
		p := fileRelease().Pointer(strings.Repeat("ef", sha256.Size))
		spoil(p)
		if _, err := p.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPointer(k.Public(), data, Sign(k, data, "")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

// TestConfusion signs a manifest and shows it as a pointer, and the reverse.
func TestConfusion(t *testing.T) {
	k := testKey(t)
	m := fileRelease()
	data := mustEncode(t, m)
	if _, err := OpenPointer(k.Public(), data, Sign(k, data, "")); !errors.Is(err, ErrMalformed) {
		t.Errorf("manifest as pointer: %v", err)
	}
	data, err := m.Pointer(ID(data)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(k.Public(), data, Sign(k, data, "")); !errors.Is(err, ErrMalformed) {
		t.Errorf("pointer as manifest: %v", err)
	}
}
