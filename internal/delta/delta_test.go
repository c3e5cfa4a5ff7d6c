package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// release is content in memory.
type release [][]byte

func (r release) files() (out []File) {
	for _, b := range r {
		out = append(out, File{Size: int64(len(b)), SHA256: sha256.Sum256(b)})
	}
	return out
}

func (r release) size() (n int64) {
	for _, b := range r {
		n += int64(len(b))
	}
	return n
}

// index cuts the release, in writes of odd lengths.
func (r release) index(t testing.TB) *Index {
	t.Helper()
	x := &Index{Class: Class(r.size())}
	c, err := NewChunker(x.Class)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r {
		if len(b) <= Large {
			continue
		}
		sum := sha256.Sum256(b)
		for step := 1; len(b) > 0; step = step*7%200_003 + 1 {
			n := min(step, len(b))
			_, _ = c.Write(b[:n])
			b = b[n:]
		}
		x.Files = append(x.Files, Chunked{sum, c.End()})
	}
	return x
}

// workshop builds releases in memory.
type workshop struct {
	base, has release // has is nil where a file is missing
	dropped   int
	full      bool
}

func (w *workshop) ReadBase(i int, p []byte, off int64) error { return readAt(w.base[i], p, off) }
func (w *workshop) ReadNew(i int, p []byte, off int64) error  { return readAt(w.has[i], p, off) }

func readAt(b, p []byte, off int64) error {
	if off > int64(len(b)) || copy(p, b[off:]) < len(p) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (w *workshop) Wanted(i int) bool { return w.has[i] == nil }

func (w *workshop) Begin(i int) (Building, error) { return &bench{w: w, i: i}, nil }

type bench struct {
	w *workshop
	i int
	b []byte
}

var errFull = errors.New("full")

func (b *bench) Write(p []byte) (int, error) {
	if b.w.full {
		return 0, errFull
	}
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *bench) Keep() error { b.w.has[b.i] = b.b; return nil }
func (b *bench) Drop()       { b.w.dropped++ }

// pack makes a pack from old to fresh.
func pack(t testing.TB, old, fresh release, limit int64) ([]byte, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "pack"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	n, err := Make(context.Background(), f, Spec{Base: old.files(), New: fresh.files(), Old: old.index(t), Fresh: fresh.index(t), Sources: &workshop{base: old, has: fresh}, Limit: limit})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(f.Name())
	if err != nil || int64(len(b)) != n {
		t.Fatalf("pack of %d bytes, said to be %d: %v", len(b), n, err)
	}
	return b, nil
}

// fresh has the files that the base has already, as after linking.
func (w *workshop) reuse(want release) {
	w.has = make(release, len(want))
	for i, b := range want {
		if slices.ContainsFunc(w.base, func(o []byte) bool { return bytes.Equal(o, b) }) || len(b) == 0 {
			w.has[i] = append([]byte{}, b...)
		}
	}
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func TestMakeAndApply(t *testing.T) {
	big := random(1, 3<<20)
	changed := bytes.Clone(big)
	changed[1_000_000]++
	text := bytes.Repeat([]byte("compressible "), 3000)
	for _, c := range []struct {
		name       string
		old, fresh release
		most       int // bytes of the pack
	}{
		{"small files", release{text, random(2, 1000)}, release{random(3, 1000), text, random(4, 500)}, 1600},
		{"text", release{big}, release{big, text}, 200},
		{"a byte", release{big}, release{changed}, 100},
		{"inserted in front", release{big}, release{join(random(5, 77), big)}, 177},
		{"inserted", release{big}, release{join(big[:300_000], random(6, 10_000), big[300_000:])}, 10_100},
		{"removed", release{big}, release{join(big[:300_000], big[500_000:])}, 100},
		{"swapped", release{big}, release{join(big[1<<20:], big[:1<<20])}, 200},
		{"two of one", release{big[:1<<20], big[1<<20:]}, release{join(random(7, 5), big)}, 30_000},
		{"twins", release{text}, release{random(8, 100_000), random(8, 100_000), random(8, 100_000)}, 100_100},
		{"from nothing", release{{}}, release{random(9, 100_000)}, 100_100},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := pack(t, c.old, c.fresh, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > c.most {
				t.Errorf("the pack has %d bytes, more than %d", len(b), c.most)
			}
			if again, _ := pack(t, c.old, c.fresh, 1<<30); !bytes.Equal(again, b) {
				t.Error("made again it is another one")
			}
			w := &workshop{base: c.old}
			w.reuse(c.fresh)
			got, err := Apply(t.Context(), bytes.NewReader(b), c.old.files(), c.fresh.files(), w)
			if err != nil || len(got.Bad) > 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			for i := range c.fresh {
				if !bytes.Equal(w.has[i], c.fresh[i]) {
					t.Errorf("file %d is wrong", i)
				}
			}
			if len(b) > 100 {
				if _, err := pack(t, c.old, c.fresh, int64(len(b))-1); !errors.Is(err, ErrTooLarge) {
					t.Errorf("with a limit below its length: %v", err)
				}
			}
		})
	}
}

// TestBaseIsOther applies a pack to a base that was changed: only the files that
// need those bytes fail.
func TestBaseIsOther(t *testing.T) {
	old := release{random(1, 1<<20), random(2, 1<<20)}
	fresh := release{join(old[0], []byte("more")), join(old[1], []byte("more")), join(old[1], []byte("more"))}
	b, err := pack(t, old, fresh, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string][]byte{"changed": join(old[1][:99], []byte("?"), old[1][100:]), "cut": old[1][:5000]} {
		t.Run(name, func(t *testing.T) {
			w := &workshop{base: release{old[0], other}}
			w.reuse(fresh)
			got, err := Apply(t.Context(), bytes.NewReader(b), old.files(), fresh.files(), w)
			if err != nil || !slices.Equal(got.Files, []int{0}) || !slices.Equal(got.Bad, []int{1, 2}) || got.Why == nil || w.dropped != 2 {
				t.Errorf("%+v, %v", got, err)
			}
			if w.has[1] != nil || !bytes.Equal(w.has[0], fresh[0]) {
				t.Error("the wrong files were kept")
			}
		})
	}
}

func TestTargetFails(t *testing.T) {
	old, fresh := release{random(1, 100)}, release{random(2, 100)}
	b, err := pack(t, old, fresh, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop{base: old, has: make(release, 1), full: true}
	if _, err := Apply(t.Context(), bytes.NewReader(b), old.files(), fresh.files(), w); !errors.Is(err, errFull) || w.dropped != 1 {
		t.Errorf("%v, dropped %d", err, w.dropped)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.full = false
	if _, err := Apply(ctx, bytes.NewReader(b), old.files(), fresh.files(), w); !errors.Is(err, context.Canceled) || w.has[0] != nil {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	old := release{random(1, 1<<20)}
	fresh := release{join(random(3, 5000), old[0]), []byte("small")}
	good, err := pack(t, old, fresh, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	head := func(ops ...byte) []byte { return join([]byte(magic), []byte{methodPlain, 0}, ops) }
	long := bytes.Repeat([]byte{0xff}, 9)
	cases := map[string][]byte{
		"empty": nil, "only magic": []byte(magic), "other magic": bytes.Repeat([]byte("x"), 100),
		"method": join([]byte(magic), []byte{9, 0}, good[headerLen:]), "no end": head(), "behind the end": head(0, 0),
		"file": head(3, 0), "file of many": head(append(long, 1)...), "no bytes": head(1, 0, 0), "kind": head(1, 4<<1|3, 0, 0),
		"too long": head(2, 6<<2, 1, 2, 3, 4, 5, 6, 0), "base file": head(2, 5<<2|1, 1, 0, 0), "base offset": head(append([]byte{2, 5<<2 | 1, 0}, join(long, []byte{0, 0})...)...),
		"own file": head(2, 5<<2|2, 2, 0, 0), "short": head(2, 5<<2, 'a'), "not zstd": join([]byte(magic), []byte{methodZstd, 0}, random(1, 100)),
	}
	for i := 1; i < len(good); i += 97 {
		cases[fmt.Sprintf("cut at %d", i)] = good[:i]
	}
	for name, b := range cases {
		w := &workshop{base: old, has: make(release, len(fresh))}
		if _, err := Apply(t.Context(), bytes.NewReader(b), old.files(), fresh.files(), w); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Well-formed, and wrong: a file that copies itself, or what comes later.
	for name, b := range map[string][]byte{"itself": head(2, 5<<2|2, 1, 0, 0), "later": head(2, 5<<2|2, 0, 0, 0), "other bytes": head(2, 5<<2, '1', '2', '3', '4', '5', 0)} {
		w := &workshop{base: old, has: make(release, len(fresh))}
		if got, err := Apply(t.Context(), bytes.NewReader(b), old.files(), fresh.files(), w); err != nil || !slices.Equal(got.Bad, []int{1}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTooManyOperations(t *testing.T) {
	old, fresh := release{random(1, 1<<20)}, release{random(2, 1<<20)}
	b := join([]byte(magic), []byte{methodPlain, 0, 1}, bytes.Repeat([]byte{1<<2 | 1, 0, 0}, 1<<20), []byte{0})
	w := &workshop{base: old, has: make(release, 1)}
	if _, err := Apply(t.Context(), bytes.NewReader(b), old.files(), fresh.files(), w); !errors.Is(err, ErrMalformed) {
		t.Errorf("a million operations: %v", err)
	}
}

func TestChunker(t *testing.T) {
	data := random(1, 5<<20)
	for class := range classes {
		whole, err := NewChunker(class)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = whole.Write(data)
		want := whole.End()
		if sizeOf(want) != int64(len(data)) {
			t.Fatalf("class %d: chunks of %d bytes", class, sizeOf(want))
		}
		// However the bytes come, and in whichever file before.
		for _, step := range []int{1000, 4096, 65_537, 1 << 20} {
			for rest := data; len(rest) > 0; {
				n := min(step, len(rest))
				_, _ = whole.Write(rest[:n])
				rest = rest[n:]
			}
			if got := whole.End(); !slices.Equal(got, want) {
				t.Errorf("class %d: in steps of %d there are %d chunks, else %d", class, step, len(got), len(want))
			}
		}
		mean := len(data) / len(want)
		if most := (minChunk + normalChunk) * 3 / 2 << (2 * class); class < 3 && (mean > most || mean < most/3) {
			t.Errorf("class %d: the mean chunk has %d bytes", class, mean)
		}
	}
	for size, want := range map[int64]int{0: 0, 8 << 30: 0, 8<<30 + 1: 1, 32<<30 + 1: 2, 1 << 50: 3} {
		if got := Class(size); got != want {
			t.Errorf("class of %d bytes is %d, want %d", size, got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	x := (release{random(1, 1<<20), {}, random(2, 300_000), []byte("small")}).index(t)
	var b bytes.Buffer
	if err := x.Encode(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ParseIndex(b.Bytes())
	if err != nil || got.Class != x.Class || !slices.EqualFunc(got.Files, x.Files, func(a, b Chunked) bool { return a.SHA256 == b.SHA256 && slices.Equal(a.Chunks, b.Chunks) }) {
		t.Fatalf("%v: not what was written", err)
	}
	for i := range b.Len() {
		if i%101 != 0 && i < b.Len()-20 {
			continue
		}
		if _, err := ParseIndex(b.Bytes()[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: %v", i, err)
		}
		bad := bytes.Clone(b.Bytes())
		bad[i] ^= 0x40
		if _, err := ParseIndex(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d is another: %v", i, err)
		}
	}
}

func TestNothingToSave(t *testing.T) {
	big, text := random(1, 1<<20), []byte("text")
	for name, fresh := range map[string]release{"nothing": {big, text}, "moved": {text, {}, big}, "to nothing": {{}}} {
		if _, err := pack(t, release{big, text}, fresh, 1<<30); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOtherClassesAreNotCompared(t *testing.T) {
	old := release{random(1, 1<<20)}
	fresh := release{join(old[0], []byte("more"))}
	a, b := old.index(t), fresh.index(t)
	a.Class++
	p := makePlan(old.files(), fresh.files(), a, b)
	if p.count(); p.literal != int64(len(fresh[0])) {
		t.Errorf("%d bytes are literals", p.literal)
	}
}

func BenchmarkChunker(b *testing.B) {
	data := random(1, 64<<20)
	c, err := NewChunker(0)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; rest = rest[1<<20:] {
			_, _ = c.Write(rest[:1<<20])
		}
		c.End()
	}
}
