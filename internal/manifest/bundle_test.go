package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// sameBundle compares bundles; an empty document is as good as none.
func sameBundle(x, y *Bundle) string { return cmp.Diff(x, y, cmpopts.EquateEmpty()) }

// bundleOf is a bundle of a release that a key has signed.
func bundleOf(t testing.TB, m *Manifest) (*Bundle, PublicKey) {
	t.Helper()
	k := testKey(t)
	data := mustEncode(t, m)
	p, err := m.Pointer(ID(data)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &Bundle{Pointer: p, PointerSig: Sign(k, p, "p"), Manifest: data, ManifestSig: Sign(k, data, "m"), Item: []byte("item")}, k.Public()
}

func TestBundle(t *testing.T) {
	for _, m := range []*Manifest{fileRelease(), treeRelease()} {
		want, key := bundleOf(t, m)
		blob, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBundle(blob)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameBundle(want, got); diff != "" {
			t.Error(diff)
		}
		p, err := OpenPointer(key, got.Pointer, got.PointerSig)
		if err != nil {
			t.Fatal(err)
		}
		opened, id, err := Open(key, got.Manifest, got.ManifestSig)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Matches(opened, id); err != nil {
			t.Error(err)
		}
	}
}

func TestBundleRoundTrip(t *testing.T) {
	doc := func(lo, hi int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), lo, hi) }
	rapid.Check(t, func(t *rapid.T) {
		want := &Bundle{
			Pointer: doc(1, 999).Draw(t, "pointer"), PointerSig: doc(1, 99).Draw(t, "pointer sig"), Manifest: doc(1, 9999).Draw(t, "manifest"),
			ManifestSig: doc(1, 99).Draw(t, "manifest sig"), Item: doc(0, 99).Draw(t, "item"),
		}
		blob, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBundle(blob)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameBundle(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// The longest manifest that there can be, of hashes that do not compress beyond
// their digits.
func TestBundleOfLargeManifest(t *testing.T) {
	if testing.Short() {
		t.Skip("compresses 64 MiB")
	}
	large := make([]byte, MaxManifest)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(large)
	for i := range large {
		large[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[large[i]%64]
	}
	want := &Bundle{Pointer: []byte("p"), PointerSig: []byte("s"), Manifest: large, ManifestSig: []byte("s")}
	blob, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBundle(blob)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Manifest, large) {
		t.Error("the manifest has changed")
	}
}

func TestBundleRefusals(t *testing.T) {
	good, _ := bundleOf(t, fileRelease())
	blob, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const head = len(bundleMagic) + 4*5
	length := func(i int, n uint32) []byte {
		b := bytes.Clone(blob)
		binary.BigEndian.PutUint32(b[len(bundleMagic)+4*i:], n)
		return b
	}
	pack := func(data []byte) []byte {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(bundleWindow))
		if err != nil {
			t.Fatal(err)
		}
		return append(bytes.Clone(blob[:head]), z.EncodeAll(data, nil)...)
	}
	// A frame that announces 64 KiB and wants a window of 128 MiB.
	wide := append(length(4, 64<<10), 0x28, 0xb5, 0x2f, 0xfd, 0x00, 17<<3, 0, 0, 0)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":                {nil, "does not begin"},
		"head alone":             {blob[:head-1], "does not begin"},
		"other magic":            {append([]byte("x"), blob[1:]...), "does not begin"},
		"newer version":          {append([]byte("distd\x00B\x02"), blob[8:]...), "update distd"},
		"no pointer":             {length(0, 0), "pointer of 0 bytes"},
		"long signature":         {length(1, MaxSignature+1), "signature of 4097 bytes"},
		"long item":              {length(3, MaxItem+1), "item of 2049 bytes"},
		"manifest of 4 GiB":      {length(4, 1<<32-1), "manifest of 4294967295 bytes"},
		"fewer than announced":   {length(4, 10), "more than"},
		"more than announced":    {length(4, MaxManifest), "announced"},
		"cut off":                {blob[:len(blob)-3], "announced"},
		"bytes behind the frame": {append(bytes.Clone(blob), 'x'), "behind the"},
		"bomb":                   {pack(make([]byte, 100<<20)), "more than"},
		"window too wide":        {wide, "window"},
		"too long":               {make([]byte, MaxBundle+1), "more than"},
	} {
		if _, err := DecodeBundle(c.data); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, b := range []*Bundle{
		{},
		{Pointer: []byte("p"), PointerSig: []byte("s"), Manifest: []byte("m"), ManifestSig: []byte("s"), Item: make([]byte, MaxItem+1)},
		{Pointer: make([]byte, MaxPointer+1), PointerSig: []byte("s"), Manifest: []byte("m"), ManifestSig: []byte("s")},
	} {
		if _, err := b.Encode(); err == nil {
			t.Errorf("encoded a bundle with a pointer of %d bytes and an item of %d", len(b.Pointer), len(b.Item))
		}
	}
}

func FuzzDecodeBundle(f *testing.F) {
	b, _ := bundleOf(f, fileRelease())
	blob, err := b.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add(blob[:len(blob)/2])
	f.Add([]byte(bundleMagic + "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x28\xb5\x2f\xfd\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBundle(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is not ErrMalformed: %v", err)
			}
			return
		}
		blob, err := b.Encode()
		if err != nil {
			t.Fatalf("accepted, but cannot be encoded: %v", err)
		}
		again, err := DecodeBundle(blob)
		if err != nil || sameBundle(b, again) != "" {
			t.Fatalf("accepted, but encoded again it is another (%v)", err)
		}
	})
}
