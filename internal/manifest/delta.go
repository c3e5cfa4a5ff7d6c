package manifest

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"

	"distd/internal/layout"
	"distd/internal/names"
)

// MaxDeltas is how many delta packs a release may have.
const MaxDeltas = 16

// Delta is a pack with the bytes of this release that an earlier one, its base,
// does not have; see package delta. It is a file of its own with a torrent of
// its own.
type Delta struct {
	Base        string `json:"base"`         // ID of the release that it is to be applied to
	InfoHash    string `json:"infohash"`     // of the pack's v1 torrent, 40 hex digits
	Name        string `json:"name"`         // of that torrent
	PieceLength int64  `json:"piece_length"` // bytes
	Pieces      []byte `json:"pieces"`       // SHA-256 of each piece of the pack
	Size        int64  `json:"size"`         // bytes
}

// Layout is the pack's, as a file that is called like its base.
func (d *Delta) Layout() (*layout.Layout, error) {
	return layout.New(d.PieceLength, []layout.File{{Path: d.Base, Length: d.Size}})
}

// PieceHash returns the SHA-256 of piece i of the pack.
func (d *Delta) PieceHash(i int) [sha256.Size]byte {
	return [sha256.Size]byte(d.Pieces[i*sha256.Size:])
}

// Delta returns the pack for a base, nil when there is none.
func (m *Manifest) Delta(base string) *Delta {
	for i := range m.Deltas {
		if m.Deltas[i].Base == base {
			return &m.Deltas[i]
		}
	}
	return nil
}

func (m *Manifest) checkDeltas() error {
	if len(m.Deltas) > MaxDeltas {
		return fmt.Errorf("%d deltas are more than %d", len(m.Deltas), MaxDeltas)
	}
	for i := range m.Deltas {
		d := &m.Deltas[i]
		if i > 0 && m.Deltas[i-1].Base >= d.Base {
			return fmt.Errorf("delta from %.80q does not come behind that from %.80q: deltas must be sorted by base, each once", d.Base, m.Deltas[i-1].Base)
		}
		if err := d.check(); err != nil {
			return fmt.Errorf("delta from %.80q: %w", d.Base, err)
		}
		if d.InfoHash == m.InfoHash {
			return fmt.Errorf("delta from %.80q: its infohash is that of the release", d.Base)
		}
	}
	return nil
}

func (d *Delta) check() error {
	switch {
	case !ValidID(d.Base):
		return errors.New("base is not 64 hex digits in lower case")
	case !isHex(d.InfoHash, sha1.Size):
		return fmt.Errorf("infohash %.80q is not 40 hex digits in lower case", d.InfoHash)
	case d.Size <= 0 || d.Size > layout.MaxTotal:
		return fmt.Errorf("size %d is not between 1 and %d", d.Size, layout.MaxTotal)
	}
	if err := names.ReleaseName(d.Name); err != nil {
		return err
	}
	return checkPieces(d.Size, d.PieceLength, d.Pieces)
}
