package node

import (
	"crypto/sha256"
	"slices"
	"testing"

	"distd/internal/manifest"
)

// TestIsPack: what comes along with the documents is believed by its pieces only.
func TestIsPack(t *testing.T) {
	const length = 16 << 10
	pack := make([]byte, 2*length+100)
	for i := range pack {
		pack[i] = byte(i * 7)
	}
	d := &manifest.Delta{PieceLength: length, Size: int64(len(pack))}
	for piece := range slices.Chunk(pack, length) {
		sum := sha256.Sum256(piece)
		d.Pieces = append(d.Pieces, sum[:]...)
	}
	changed := slices.Clone(pack)
	changed[len(changed)-1]++
	for name, c := range map[string]struct {
		pack []byte
		ok   bool
	}{
		"good": {pack, true}, "changed": {changed, false}, "short": {pack[:len(pack)-1], false}, "long": {append(slices.Clone(pack), 0), false},
		"a piece": {pack[:length], false}, "none": {nil, false},
	} {
		if isPack(d, c.pack) != c.ok {
			t.Errorf("%s: %v", name, !c.ok)
		}
	}
}
