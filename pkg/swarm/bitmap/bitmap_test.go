package bitmap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstModel compares every operation with a plain []bool.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "n")
		draw := func(name string) (*Bitmap, []bool) {
			b, m := New(n), make([]bool, n)
			for _, i := range rapid.SliceOfN(rapid.IntRange(-3, n+3), 0, 100).Draw(t, name) {
				ok := i >= 0 && i < n
				if b.Set(i) != (ok && !m[i]) {
					t.Fatalf("Set(%d) of %d", i, n)
				}
				if ok {
					m[i] = true
				}
			}
			for _, i := range rapid.SliceOfN(rapid.IntRange(-3, n+3), 0, 30).Draw(t, name+" cleared") {
				ok := i >= 0 && i < n
				if b.Clear(i) != (ok && m[i]) {
					t.Fatalf("Clear(%d) of %d", i, n)
				}
				if ok {
					m[i] = false
				}
			}
			return b, m
		}
		a, am := draw("a")
		b, bm := draw("b")
		check(t, "a", a, am)
		for _, op := range []struct {
			name string
			do   func(x, y *Bitmap)
			want func(x, y bool) bool
		}{
			{"or", (*Bitmap).Or, func(x, y bool) bool { return x || y }},
			{"and", (*Bitmap).And, func(x, y bool) bool { return x && y }},
			{"andnot", (*Bitmap).AndNot, func(x, y bool) bool { return x && !y }},
		} {
			c, cm := a.Clone(), make([]bool, n)
			op.do(c, b)
			for i := range cm {
				cm[i] = op.want(am[i], bm[i])
			}
			check(t, op.name, c, cm)
		}
		diff := a.Clone()
		diff.AndNot(b)
		if got := a.CountNotIn(b); got != diff.Count() || a.AnyNotIn(b) != (got > 0) {
			t.Fatalf("CountNotIn %d, AnyNotIn %v, want %d", got, a.AnyNotIn(b), diff.Count())
		}
		for i := -1; i <= n; i++ {
			if a.NextNotIn(i, b) != diff.Next(i) {
				t.Fatalf("NextNotIn(%d) = %d, want %d", i, a.NextNotIn(i, b), diff.Next(i))
			}
		}
	})
}

func check(t *rapid.T, name string, b *Bitmap, m []bool) {
	t.Helper()
	var ones []int
	next, clear := -1, -1
	for i := len(m) - 1; i >= 0; i-- {
		if m[i] {
			next = i
			ones = append(ones, i)
		} else {
			clear = i
		}
		if b.Has(i) != m[i] || b.Next(i) != next || b.NextClear(i) != clear {
			t.Fatalf("%s: at %d: Has %v Next %d NextClear %d, want %v %d %d", name, i, b.Has(i), b.Next(i), b.NextClear(i), m[i], next, clear)
		}
	}
	slices.Reverse(ones)
	if got := slices.Collect(b.Ones()); !slices.Equal(got, ones) {
		t.Fatalf("%s: Ones %v, want %v", name, got, ones)
	}
	if b.Count() != len(ones) || b.All() != (len(ones) == len(m)) || b.None() != (len(ones) == 0) || b.Len() != len(m) {
		t.Fatalf("%s: Count %d All %v None %v Len %d", name, b.Count(), b.All(), b.None(), b.Len())
	}
	if b.Next(len(m)) != -1 || b.NextClear(len(m)) != -1 || b.Has(-1) || b.Has(len(m)) {
		t.Fatalf("%s: numbers outside are in the set", name)
	}
	wire := b.Bytes()
	if len(wire) != ByteLen(len(m)) {
		t.Fatalf("%s: wire form of %d bytes", name, len(wire))
	}
	for i, v := range m {
		if wire[i/8]&(0x80>>(i%8)) != 0 != v {
			t.Fatalf("%s: bit %d of the wire form", name, i)
		}
	}
	back, err := FromBytes(wire, len(m))
	if err != nil || !back.Equal(b) {
		t.Fatalf("%s: read back: %v", name, err)
	}
}

func TestSetsOfDifferentLength(t *testing.T) {
	short, long := New(3), New(300)
	long.SetAll()
	short.Or(long)
	if short.Count() != 3 || !short.All() {
		t.Fatalf("short set holds %d of 3", short.Count())
	}
	if long.CountNotIn(short) != 297 || long.NextNotIn(0, short) != 3 {
		t.Fatalf("CountNotIn %d, NextNotIn %d", long.CountNotIn(short), long.NextNotIn(0, short))
	}
	long.CopyFrom(short)
	if !long.Equal(short) || short.Equal(New(4)) {
		t.Fatal("CopyFrom or Equal")
	}
	short.ClearAll()
	if !short.None() || long.None() {
		t.Fatal("a copy shares memory")
	}
	if n := New(-1).Len(); n != 0 {
		t.Fatalf("length %d", n)
	}
}

func TestFromBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		n    int
		want error
	}{
		{nil, 1, ErrLength},
		{[]byte{0}, 0, ErrLength},
		{[]byte{0, 0}, 8, ErrLength},
		{[]byte{0}, -1, ErrLength},
		{[]byte{0x01}, 7, ErrSpare},
		{[]byte{0xff, 0xff}, 9, ErrSpare},
	} {
		if _, err := FromBytes(c.b, c.n); !errors.Is(err, c.want) {
			t.Errorf("FromBytes(%x, %d) = %v, want %v", c.b, c.n, err, c.want)
		}
	}
}

func FuzzFromBytes(f *testing.F) {
	f.Add([]byte{0x80}, 1)
	f.Add([]byte{0xff, 0xe0}, 11)
	f.Add([]byte{0xff}, 7)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		m, err := FromBytes(b, n)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Fatalf("%x became %x", b, m.Bytes())
		}
	})
}

func ExampleBitmap() {
	have := New(11)
	have.Set(0)
	have.Set(10)
	fmt.Printf("%x %d of %d, next missing %d\n", have.Bytes(), have.Count(), have.Len(), have.NextClear(0))
	// Output: 8020 2 of 11, next missing 1
}

func BenchmarkNextNotIn(b *testing.B) {
	x, y := New(4096), New(4096)
	x.SetAll()
	y.SetAll()
	y.Clear(4095)
	for b.Loop() {
		if x.NextNotIn(0, y) != 4095 {
			b.Fatal("wrong")
		}
	}
}
