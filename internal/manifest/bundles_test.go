package manifest

import (
	"bytes"
	"errors"
	"testing"
)

func smallBundle(text string) *Bundle {
	return &Bundle{Pointer: []byte(text + "p"), PointerSig: []byte(text + "ps"), Manifest: []byte(text + "m"), ManifestSig: []byte(text + "ms"), Item: []byte(text)}
}

func TestBundlesRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 3, maxBundles, maxBundles + 5} {
		var in []*Bundle
		for i := range n {
			in = append(in, smallBundle(string(rune('a'+i%26))))
		}
		data, err := EncodeBundles(in)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := SplitBundles(data)
		if err != nil || len(parts) != min(n, maxBundles) {
			t.Fatalf("%d of %d came out, %v", len(parts), n, err)
		}
		for i, p := range parts {
			b, err := DecodeBundle(p)
			if err != nil || !bytes.Equal(b.Pointer, in[i].Pointer) || !bytes.Equal(b.Manifest, in[i].Manifest) {
				t.Fatalf("bundle %d: %+v, %v", i, b, err)
			}
		}
	}
}

func TestBundlesRefused(t *testing.T) {
	many := bytes.Repeat([]byte{0, 0, 0, 0}, maxBundles+1)
	for name, data := range map[string][]byte{
		"half a length":   {0, 0},
		"length too long": {0, 0, 0, 5, 1, 2},
		"huge length":     {255, 255, 255, 255},
		"too many":        many,
	} {
		if _, err := SplitBundles(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSplitBundles(f *testing.F) {
	data, err := EncodeBundles([]*Bundle{smallBundle("a"), smallBundle("b")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		parts, err := SplitBundles(data)
		if err != nil {
			return
		}
		n := 0
		for _, p := range parts {
			n += 4 + len(p)
		}
		if n != len(data) {
			t.Errorf("%d bytes of %d came out", n, len(data))
		}
	})
}
