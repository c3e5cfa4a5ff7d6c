package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestPacksAmongBundles(t *testing.T) {
	packs := []*Pack{{strings.Repeat("a1", 32), strings.Repeat("b2", 32), []byte("pack")}, {strings.Repeat("a1", 32), strings.Repeat("c3", 32), bytes.Repeat([]byte{7}, MaxPack)}}
	data, err := EncodeBundles([]*Bundle{smallBundle("a")}, packs...)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := SplitBundles(data)
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if _, err := DecodeBundle(parts[0]); err != nil {
		t.Errorf("the bundle, which old nodes look for, is not the first: %v", err)
	}
	if _, ok := DecodePack(parts[0]); ok {
		t.Error("a bundle is taken for a pack")
	}
	for i, p := range packs {
		if got, ok := DecodePack(parts[i+1]); !ok || got.Release != p.Release || got.Base != p.Base || !bytes.Equal(got.Data, p.Data) {
			t.Errorf("pack %d: %v", i, ok)
		}
		if _, err := DecodeBundle(parts[i+1]); err == nil {
			t.Error("a pack is taken for a bundle")
		}
	}
	for name, part := range map[string][]byte{
		"none": nil, "cut": parts[1][:len(packMagic)+2*idLength], "too long": append(slices.Clone(parts[2]), 0), "another version": append([]byte("distd\x00P\x02"), parts[1][8:]...),
	} {
		if _, ok := DecodePack(part); ok {
			t.Errorf("%s: taken for a pack", name)
		}
	}
	for _, p := range []*Pack{{"x", packs[0].Base, []byte("x")}, {packs[0].Release, "", []byte("x")}, {packs[0].Release, packs[0].Base, nil}, {packs[0].Release, packs[0].Base, make([]byte, MaxPack+1)}} {
		if _, err := EncodeBundles(nil, p); err == nil {
			t.Errorf("%.10q from %.10q with %d bytes is encoded", p.Release, p.Base, len(p.Data))
		}
	}
	// What does not fit is left out, packs first.
	if data, err = EncodeBundles(slices.Repeat([]*Bundle{smallBundle("a")}, maxBundles-1), packs[0], packs[0]); err != nil {
		t.Fatal(err)
	}
	if parts, err := SplitBundles(data); err != nil || len(parts) != maxBundles {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	if data, err = EncodeBundles(nil, slices.Repeat(packs[1:], 6)...); err != nil || len(data) > MaxBundles {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func FuzzDecodePack(f *testing.F) {
	f.Add(append([]byte(packMagic), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, part []byte) {
		p, ok := DecodePack(part)
		if !ok {
			return
		}
		if again, err := p.encode(); err != nil || !bytes.Equal(again, part) {
			t.Errorf("it is not what it was, %v", err)
		}
	})
}
