package publish

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"distd/internal/manifest"
)

// tree makes a manifest of files with the sizes by path.
func tree(pieceLength int64, sizes map[string]int64) *manifest.Manifest {
	m := &manifest.Manifest{Kind: manifest.KindTree, Name: "site", PieceLength: pieceLength}
	for p, n := range sizes {
		m.Files = append(m.Files, manifest.File{Path: p, Size: n})
		m.Size += n
	}
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	return m
}

// again arranges m behind old. Files have changed where changed says so.
func again(t testing.TB, old, m *manifest.Manifest, changed func(path string) bool) (needed int64) {
	t.Helper()
	same := make([]int, len(m.Files))
	for i, f := range m.Files {
		if same[i] = old.FileIndex(f.Path); same[i] >= 0 && (changed(f.Path) || old.Files[same[i]].Size != f.Size) {
			same[i] = -1
		}
	}
	order := newArrangement(m, old, same).run()
	if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, m.Regular()) {
		t.Fatalf("not each file once: %v", sorted)
	}
	m.SetOrder(order)
	if !slices.Equal(m.Regular(), order) {
		t.Fatal("the manifest has another order")
	}
	lay, err := m.Layout()
	if err != nil {
		t.Fatal(err)
	}
	before, err := old.Layout()
	if err != nil {
		t.Fatal(err)
	}
	at := make([]int, len(old.Files))
	for i, k := range old.Regular() {
		at[k] = i
	}
	in := make([]int, len(order))
	for i, k := range order {
		if in[i] = same[k]; in[i] >= 0 {
			in[i] = at[in[i]]
		}
	}
	for i := range lay.NumPieces() {
		if findPiece(lay, before, in, i) < 0 {
			needed += lay.PieceSize(i)
		}
	}
	return needed
}

// TestFewPiecesAreHashed: files that come, go, or change their sizes cost the
// pieces around them and some of the last ones.
func TestFewPiecesAreHashed(t *testing.T) {
	const piece = 128 << 10
	rnd := rand.New(rand.NewPCG(1, 2))
	sizes := map[string]int64{}
	for i := range 10_000 {
		sizes[fmt.Sprintf("d%02d/f%04d", i/100, i)] = 1024 + rnd.Int64N(63<<10)
	}
	old := tree(piece, sizes)
	changed := map[string]bool{}
	for release := range 20 {
		paths := slices.Sorted(maps.Keys(sizes))
		for i := range 20 {
			p := paths[rnd.IntN(len(paths))]
			changed[p] = true
			if i%2 == 0 {
				sizes[p] = 1024 + rnd.Int64N(63<<10)
			}
		}
		for range 5 {
			delete(sizes, paths[rnd.IntN(len(paths))])
		}
		sizes[fmt.Sprintf("a%d", release)] = 1024 + rnd.Int64N(63<<10)
		m := tree(piece, sizes)
		needed := again(t, old, m, func(p string) bool { return changed[p] })
		t.Logf("release %d: %d of %d bytes are hashed, the order takes %d bytes", release, needed, m.Size, len(m.Order))
		if needed > m.Size/16 {
			t.Errorf("release %d: %d of %d bytes are hashed", release, needed, m.Size)
		}
		old = m
		clear(changed)
	}
}

// TestArrangeAnything: whatever the sizes are, each file is in it once.
func TestArrangeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int64{0, 1, 512, 1023, 1024, 1025, 4096, 10_000})
		sizes := map[string]int64{}
		for i := range rapid.IntRange(1, 40).Draw(t, "files") {
			sizes[fmt.Sprint(i)] = size.Draw(t, "size")
		}
		old := tree(1024, sizes)
		for range 3 {
			for p := range sizes {
				switch rapid.IntRange(0, 9).Draw(t, "change") {
				case 0:
					delete(sizes, p)
				case 1:
					sizes[p] = size.Draw(t, "size")
				}
			}
			for i := range rapid.IntRange(0, 5).Draw(t, "new") {
				sizes[fmt.Sprint("n", i)] = size.Draw(t, "size")
			}
			sizes["always"] = 3
			m := tree(1024, sizes)
			odd := rapid.Bool().Draw(t, "odd")
			same := make([]int, len(m.Files))
			for i, f := range m.Files {
				if same[i] = old.FileIndex(f.Path); same[i] >= 0 && (odd && i%7 == 0 || old.Files[same[i]].Size != f.Size) {
					same[i] = -1
				}
			}
			order := newArrangement(m, old, same).run()
			if !slices.Equal(slices.Sorted(slices.Values(order)), m.Regular()) {
				t.Fatalf("not each file once: %v", order)
			}
			m.SetOrder(order)
			if !slices.Equal(m.Regular(), order) {
				t.Fatal("the manifest has another order")
			}
			old = m
		}
	})
}
