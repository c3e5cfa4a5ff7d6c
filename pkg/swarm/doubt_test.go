package swarm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"distd/internal/layout"
)

// TestDoubtedPieces: what is known to be damaged is not offered, and is as soon
// as it is right again.
func TestDoubtedPieces(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, directing: true})
	name := filepath.Join(seed.dir, "rel/d/b")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(data)
	damaged[len(data)/2] ^= 1
	if err := os.WriteFile(name, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	file := slices.IndexFunc(con.layout.Files, func(f layout.File) bool { return f.Path == "rel/d/b" })
	piece := int((con.layout.Offset(file) + int64(len(data)/2)) / con.layout.PieceLength)
	seed.tor.Doubt([]int{piece, -1, 1 << 20}, errors.New("read other bytes"))
	leaf := startNode(t, con, nodeOptions{})
	leaf.knows(seed)
	eventually(t, 10*time.Second, "all other pieces are at the leaf", func() bool { return leaf.tor.Stats().Have == con.layout.NumPieces()-1 })
	if s := seed.tor.Stats(); s.Unreadable != 1 {
		t.Errorf("%d pieces are held back, want 1", s.Unreadable)
	}
	if s := leaf.tor.Stats(); s.BadPieces != 0 {
		t.Errorf("the leaf was sent %d bad pieces", s.BadPieces)
	}
	con.put(t, seed.dir)
	seed.tor.Recheck()
	leaf.wait(20 * time.Second)
	con.same(t, leaf.dir)
}
