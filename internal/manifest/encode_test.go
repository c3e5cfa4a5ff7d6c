package manifest

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// tree is a release of so many files.
func tree(files int) *Manifest {
	m := &Manifest{Channel: "web", Created: time.Unix(1_700_000_000, 0).UTC(), Format: Format, InfoHash: strings.Repeat("ab", 20), Kind: KindTree,
		Name: "site", PieceLength: 1 << 10, Serial: 7, Dirs: []Dir{{Path: ".", Mode: 0o755}}, Mirrors: []Mirror{{Preference: 1, URL: "https://a.example/site/"}}}
	for i := range files {
		m.Files = append(m.Files, File{Path: fmt.Sprintf("dir/file-%06d", i), Mode: 0o644, MTime: 1_600_000_000, SHA256: strings.Repeat("cd", 32)})
	}
	return m
}

// TestEncodePieceByPiece: what is written file by file is what encoding/json writes
// of the whole.
func TestEncodePieceByPiece(t *testing.T) {
	for _, names := range [][]string{nil, {}, {"a"}, {"a", "b <&> \u2028 \u2029", `"files":[]`, "z"}} {
		m := tree(0)
		m.Pieces = []byte{}
		m.Dirs = append(m.Dirs, Dir{Path: `"files":[]`})
		if names != nil {
			m.Files = []File{}
		}
		for _, n := range names {
			m.Files = append(m.Files, File{Path: n, Symlink: n})
		}
		got, err := m.marshal()
		if err != nil {
			t.Fatal(err)
		}
		want, err := canonical(m)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%q:\n%s, want\n%s", names, got, want)
		}
	}
}

// largest is the length of the longest write to it.
type largest int

func (l *largest) Write(p []byte) (int, error) {
	*l = max(*l, largest(len(p)))
	return len(p), nil
}

// TestAcceptHoldsNoCopy: a manifest is compared with its canonical form one file at a
// time, so that it is not all in memory once more.
func TestAcceptHoldsNoCopy(t *testing.T) {
	m := tree(2_000)
	var l largest
	if err := m.encodeTo(&l); err != nil {
		t.Fatal(err)
	}
	if l > 1000 {
		t.Errorf("%d bytes were written at once", l)
	}
	data, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		data []byte
		good bool
	}{"as it is": {data, true}, "cut": {data[:len(data)-1], false}, "with a space behind it": {append(data[:len(data):len(data)], ' '), false}} {
		if err := accept(tc.data, func() error { return nil }, m.encodeTo); (err == nil) != tc.good {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := tree(100_000)
	for b.Loop() {
		if err := m.encodeTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
