package manifest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "files")
		m := &Manifest{Kind: KindTree, Name: "site", PieceLength: 1024}
		for i := range n {
			f := File{Path: string(rune('A' + i)), Size: int64(i)}
			if rapid.IntRange(0, 4).Draw(t, "symlink") == 0 {
				f.Symlink = "x"
			}
			m.Files = append(m.Files, f)
		}
		sorted := m.Regular()
		want := slices.Clone(sorted)
		if len(want) > 0 {
			want = rapid.Permutation(want).Draw(t, "order")
		}
		m.SetOrder(want)
		if got := m.Regular(); !slices.Equal(got, want) {
			t.Fatalf("order %v, want %v", got, want)
		}
		if slices.Equal(sorted, want) != (m.Order == nil) {
			t.Errorf("order %v is encoded as %x", want, m.Order)
		}
		if len(want) == 0 {
			return
		}
		lay, err := m.Layout()
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range want {
			if lay.Files[i].Path != "site/"+m.Files[k].Path || lay.Files[i].Length != m.Files[k].Size {
				t.Errorf("file %d is %v, want that of %v", i, lay.Files[i], m.Files[k])
			}
		}
	})
}

func TestOrderIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		order []byte
		want  string // "" for none
	}{
		"swapped":          {[]byte{2, 1, 3, 1, 2, 1}, ""}, // 1, 0, 2
		"sorted":           {[]byte{0, 3}, "shortest"},
		"a run in two":     {[]byte{2, 1, 0, 1, 5, 1}, "shortest"},
		"long number":      {[]byte{0x82, 0, 1, 3, 1, 2, 1}, "shortest"},
		"one is missing":   {[]byte{2, 1, 3, 1}, "2 files of 3"},
		"one twice":        {[]byte{2, 1, 1, 1, 3, 1}, "twice"},
		"one too many":     {[]byte{2, 3}, "damaged"},
		"before the first": {[]byte{1, 1}, "damaged"},
		"an empty run":     {[]byte{0, 0}, "damaged"},
		"cut short":        {[]byte{2, 1, 3}, "damaged"},
		"far away":         {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}, "damaged"},
		"very long":        {[]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "damaged"},
	} {
		err := checkOrder(c.order, 3)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, errOrder) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
