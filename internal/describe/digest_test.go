package describe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"distd/pkg/metalink"
)

// digestsOf hashes size bytes of r with the named digests.
func digestsOf(t *testing.T, r io.Reader, size int64, names ...string) *metalink.File {
	t.Helper()
	d, _, err := ParseDigests(names, false)
	if err != nil {
		t.Fatal(err)
	}
	var f metalink.File
	if err := d.sum(t.Context(), r, size, func(int) {}, &f); err != nil {
		t.Fatal(err)
	}
	return &f
}

// The values are those that the algorithms' publications give for "abc".
func TestDigests(t *testing.T) {
	f := digestsOf(t, iotest.OneByteReader(strings.NewReader("abc")), 3, DigestNames()...)
	want := map[string]string{
		"md4":     "a448017aaf21d8525fc10ae87aa6729d",
		"md5":     "900150983cd24fb0d6963f7d28e17f72",
		"sha-1":   "a9993e364706816aba3e25717850c26c9cd0d89d",
		"sha-256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha-384": "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		"sha-512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
		"rmd160":  "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
		"crc32":   "352441c2",
		"ed2k":    "a448017aaf21d8525fc10ae87aa6729d",
	}
	if d := cmp.Diff(want, f.Hashes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if want := (&metalink.Pieces{Type: "sha-1", Length: 256 << 10, Hashes: []string{want["sha-1"]}}); !cmp.Equal(f.Pieces, want) || f.Size != 3 {
		t.Errorf("size %d, pieces %+v", f.Size, f.Pieces)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// eMule's values for zeros; behind a full chunk it takes an empty one.
func TestED2K(t *testing.T) {
	for size, want := range map[int64]string{
		0:             "31d6cfe0d16ae931b73c59d7e0c089c0",
		ed2kChunk - 1: "ac44b93fc9aff773ab0005c911f8396f",
		ed2kChunk:     "fc21d9af828f92a8df64beac3357425d",
		ed2kChunk + 1: "06329e9dba1373512c06386fe29e3c65",
		2 * ed2kChunk: "114b21c63a74b6ca922291a11177dd5c",
	} {
		if got := digestsOf(t, io.LimitReader(zeros{}, size), size, "ed2k").Hashes["ed2k"]; got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}

func TestHashesStartAnew(t *testing.T) {
	for _, k := range kinds {
		h := k.write()
		empty := h.Sum(nil)
		_, _ = h.Write(make([]byte, ed2kChunk+1))
		h.Reset()
		if !bytes.Equal(h.Sum(nil), empty) || len(empty) != h.Size() {
			t.Errorf("%s: %x after Reset, want %x", k.name, h.Sum(nil), empty)
		}
	}
}

func TestPieces(t *testing.T) {
	const mib = 1 << 20
	for size, want := range map[int64]int64{
		0: 256 << 10, 64*mib - 1: 256 << 10, 64 * mib: 512 << 10, 128 * mib: mib, 4 << 30: 8 * mib, 64 << 30: 8 * mib, 1 << 40: 16 * mib,
	} {
		if got := pieceLength(size); got != want {
			t.Errorf("%d bytes: pieces of %d, want %d", size, got, want)
		}
		if n := size / pieceLength(size); n > maxPieces {
			t.Errorf("%d bytes: %d pieces", size, n)
		}
	}
	if p := digestsOf(t, strings.NewReader(""), 0, "sha1pieces").Pieces; p != nil {
		t.Errorf("an empty file has pieces: %+v", p)
	}
	p := digestsOf(t, io.LimitReader(zeros{}, 600<<10), 600<<10, "sha1pieces").Pieces
	// sha1sum of 262144 and of 90112 zeros.
	full, last := "2e000fa7e85759c7f4c254d4d9c33ef481e459a7", "c9e4b609cfdef87959344d433335d27b4e5ae9a3"
	if len(p.Hashes) != 3 || p.Hashes[0] != full || p.Hashes[1] != full || p.Hashes[2] != last {
		t.Errorf("pieces %q", p.Hashes)
	}
}

func TestParseDigests(t *testing.T) {
	for _, c := range []struct {
		words    []string
		v4       bool
		want     []string
		pieces   bool
		warnings []string
	}{
		{nil, false, nil, false, nil},
		{[]string{"sha1, MD5", "md5"}, false, []string{"md5", "sha1"}, false, nil},
		{[]string{"tiger", "sha1pieces"}, false, nil, true, []string{"digest tiger is left out"}},
		{[]string{"gnunet,md4,rmd160,crc32,ed2k,sha512"}, true, []string{"sha512"}, false, []string{"gnunet", "md4 is left out: version 4", "rmd160", "crc32", "ed2k"}},
	} {
		d, warnings, err := ParseDigests(c.words, c.v4)
		if err != nil {
			t.Errorf("%q: %v", c.words, err)
			continue
		}
		var got []string
		for _, k := range d.kinds {
			got = append(got, k.name)
		}
		if !cmp.Equal(got, c.want) || d.pieces != c.pieces || d.None() != (c.want == nil && !c.pieces) {
			t.Errorf("%q: %q, pieces %t", c.words, got, d.pieces)
		}
		contain(t, warnings, c.warnings...)
	}
	if _, _, err := ParseDigests([]string{"sha265"}, false); err == nil || !strings.Contains(err.Error(), `"sha265" is none of md4, md5,`) {
		t.Error(err)
	}
}

// contain checks that there are as many texts as wanted, each with its part.
func contain(t *testing.T, texts []string, want ...string) {
	t.Helper()
	if len(texts) != len(want) {
		t.Errorf("%d texts, want %d: %q", len(texts), len(want), texts)
		return
	}
	for i, w := range want {
		if !strings.Contains(texts[i], w) {
			t.Errorf("text %q, want one with %q", texts[i], w)
		}
	}
}

func TestSumFails(t *testing.T) {
	d, _, err := ParseDigests([]string{"md5"}, false)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("bad sector")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		r    io.Reader
		want error
	}{
		{t.Context(), strings.NewReader("ab"), ErrChanged},
		{t.Context(), strings.NewReader("abcd"), ErrChanged},
		{t.Context(), io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), broken},
		{canceled, strings.NewReader("abc"), context.Canceled},
	} {
		var f metalink.File
		if err := d.sum(c.ctx, c.r, 3, func(int) {}, &f); !errors.Is(err, c.want) || f.Hashes != nil {
			t.Errorf("error %v and %v, want %v", err, f.Hashes, c.want)
		}
	}
}

// Every digest has all bytes in their order, whatever the reads are.
func TestSpread(t *testing.T) {
	data := make([]byte, 3*readSize+17)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	var a, b bytes.Buffer
	n, err := spread(t.Context(), iotest.HalfReader(bytes.NewReader(data)), readSize, []io.Writer{&a, &b}, func(int) {})
	if err != nil || n != int64(len(data)) || !bytes.Equal(a.Bytes(), data) || !bytes.Equal(b.Bytes(), data) {
		t.Errorf("%d bytes, %v; the writers have %d and %d", n, err, a.Len(), b.Len())
	}
}
