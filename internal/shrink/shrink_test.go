package shrink

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// listing is like a manifest of n files: a digest of each, and one of each piece.
// The files of changed have other bytes.
func listing(n int, changed map[int]bool) []byte {
	var b bytes.Buffer
	hash := func(i int, what string) []byte {
		h := sha256.Sum256(fmt.Append(nil, i, what, changed[i]))
		return h[:]
	}
	var pieces []byte
	for i := range n {
		fmt.Fprintf(&b, `{"path":"dir%02d/file%05d.html","sha256":"%s","size":%d},`, i%50, i, hex.EncodeToString(hash(i, "file")), binary.BigEndian.Uint16(hash(i, "size")))
		pieces = append(pieces, hash(i, "piece")...)
	}
	b.WriteString(base64.StdEncoding.EncodeToString(pieces))
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, base := rapid.SliceOf(rapid.Byte()).Draw(t, "doc"), rapid.SliceOf(rapid.Byte()).Draw(t, "base")
		if rapid.Bool().Draw(t, "alike") {
			doc = append(bytes.Repeat(base, 3), doc...)
		}
		for _, base := range [][]byte{nil, base} {
			packed, err := Pack(doc, base)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(packed)) > MaxPacked(int64(len(doc))) {
				t.Fatalf("%d bytes became %d", len(doc), len(packed))
			}
			got, err := Unpack(packed, base, int64(len(doc)))
			if err != nil || !bytes.Equal(got, doc) {
				t.Fatalf("%d bytes came back as %d, %v", len(doc), len(got), err)
			}
		}
	})
}

// TestDifference has few of many files changed, all over the document.
func TestDifference(t *testing.T) {
	for _, n := range []int{100, 10_000, 30_000} {
		changed := map[int]bool{}
		for i := range 20 {
			changed[i*n/20+3] = true
		}
		base, doc := listing(n, nil), listing(n, changed)
		packed, err := Pack(doc, base)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Pack(doc, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d files: %d bytes, packed %d, as a difference %d", n, len(doc), len(plain), len(packed))
		if len(packed) > 20*400+len(doc)/30 || len(plain) > len(doc)*8/10 {
			t.Errorf("%d files: %d bytes became %d as a difference, %d packed", n, len(doc), len(packed), len(plain))
		}
		if got, err := Unpack(packed, base, int64(len(doc))); err != nil || !bytes.Equal(got, doc) {
			t.Errorf("%d files: %d bytes came back as %d, %v", n, len(doc), len(got), err)
		}
		if got, err := Unpack(packed, listing(n, map[int]bool{1: true}), int64(len(doc))); err == nil && bytes.Equal(got, doc) {
			t.Errorf("%d files: another base gives the same", n)
		}
	}
}

func TestRefuses(t *testing.T) {
	if _, err := Pack(make([]byte, MaxPair), make([]byte, 1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a pair beyond the bound: %v", err)
	}
	bomb, err := Pack(make([]byte, 8<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	var unsized bytes.Buffer // a stream does not say how long it is
	z, err := zstd.NewWriter(&unsized)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	half, err := Pack(make([]byte, 600), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"bomb": bomb, "bomb of unknown length": unsized.Bytes(), "bomb of two frames": append(half, half...),
		"cut off": half[:len(half)-1], "no frame": []byte(strings.Repeat("x", 40)), "window": {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0},
	} {
		if doc, err := Unpack(data, nil, 1000); err == nil {
			t.Errorf("%s: %d bytes", name, len(doc))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	base := []byte(strings.Repeat("some base ", 20))
	for _, doc := range []string{"", "x", strings.Repeat("some base ", 30)} {
		packed, err := Pack([]byte(doc), base)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, base := range [][]byte{nil, base} {
			if doc, err := Unpack(data, base, 1<<10); err == nil && len(doc) > 1<<10 {
				t.Errorf("%d bytes", len(doc))
			}
		}
	})
}
