package delta

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
)

func FuzzApply(f *testing.F) {
	old := release{random(1, 100_000), []byte("one")}
	fresh := release{join(random(3, 500), old[0]), []byte("small"), []byte("small")}
	good, err := pack(f, old, fresh, 1<<30)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(join([]byte(magic), []byte{methodPlain, 0, 2, 5 << 2}, []byte("small"), []byte{1, 5<<2 | 2, 1, 0, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &workshop{base: old, has: make(release, len(fresh))}
		got, err := Apply(context.Background(), bytes.NewReader(b), old.files(), fresh.files(), w)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		for i, f := range w.has {
			if f != nil && !bytes.Equal(f, fresh[i]) || (f != nil) != slices.Contains(got.Files, i) {
				t.Fatalf("file %d was kept and is wrong", i)
			}
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	var b bytes.Buffer
	_ = (release{random(1, 100_000)}).index(f).Encode(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ParseIndex(b); err == nil {
			var again bytes.Buffer
			if err := x.Encode(&again); err != nil {
				t.Fatal(err)
			}
		}
	})
}
