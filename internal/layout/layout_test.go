package layout

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSegmentsCoverEveryByteOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.Int64Range(0, 50), 1, 20).Draw(t, "lengths")
		files := make([]File, len(lengths))
		type at struct {
			file int
			off  int64
		}
		var want []at
		for i, n := range lengths {
			files[i] = File{Path: "f", Length: n}
			for o := range n {
				want = append(want, at{i, o})
			}
		}
		l, err := New(rapid.Int64Range(1, 64).Draw(t, "piece"), files)
		if err != nil {
			t.Fatal(err)
		}
		var got []at
		var sizes int64
		for p := range l.NumPieces() {
			sizes += l.PieceSize(p)
			for s := range l.Segments(l.PieceOffset(p), l.PieceSize(p)) {
				if first, last := l.FilePieces(s.File); p < first || p >= last {
					t.Fatalf("piece %d holds bytes of file %d, but FilePieces says [%d,%d)", p, s.File, first, last)
				}
				for o := range s.Length {
					got = append(got, at{s.File, s.Offset + o})
				}
			}
		}
		if sizes != l.Total || !slices.Equal(got, want) {
			t.Fatalf("segments of all pieces do not give the bytes in order: %v, want %v", got, want)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		piece int64
		files []File
	}{
		{"no piece length", 0, []File{{"a", 1}}},
		{"huge piece length", MaxPieceLength + 1, []File{{"a", 1}}},
		{"no files", 1, nil},
		{"negative length", 1, []File{{"a", -1}}},
		{"sum over the bound", 1, []File{{"a", MaxTotal}, {"b", 1}}},
	} {
		if _, err := New(c.piece, c.files); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
}
