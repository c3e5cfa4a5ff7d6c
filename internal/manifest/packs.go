package manifest

import (
	"encoding/hex"
	"fmt"
)

// MaxPack is the longest delta pack that may come along with documents, in bytes.
const MaxPack = 16 << 20

// packMagic begins every pack among bundles; its last byte is the version.
const packMagic = "distd\x00P\x01"

// idLength is how many bytes a release's ID is.
const idLength = 32

// Pack is a small delta pack that goes along with bundles: with it a node that has
// the base needs nothing else.
type Pack struct {
	Release, Base string // IDs
	Data          []byte
}

// encode returns the pack as one blob: 8 bytes of magic and version, the IDs of
// release and base (32 bytes each), and the pack, which is compressed already.
func (p *Pack) encode() ([]byte, error) {
	if !ValidID(p.Release) || !ValidID(p.Base) || len(p.Data) == 0 || len(p.Data) > MaxPack {
		return nil, fmt.Errorf("delta pack of release %.80q from %.80q: %d bytes are not between 1 and %d, or these are no IDs", p.Release, p.Base, len(p.Data), MaxPack)
	}
	out := make([]byte, 0, len(packMagic)+2*idLength+len(p.Data))
	out = append(out, packMagic...)
	for _, id := range []string{p.Release, p.Base} {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return nil, err
		}
		out = append(out, raw...)
	}
	return append(out, p.Data...), nil
}

// DecodePack reads a part of what EncodeBundles has put together, and says whether
// it is a pack. It verifies nothing: the manifest has the hashes. Data is a part
// of what was handed in.
func DecodePack(part []byte) (*Pack, bool) {
	const head = len(packMagic) + 2*idLength
	if len(part) <= head || len(part)-head > MaxPack || string(part[:len(packMagic)]) != packMagic {
		return nil, false
	}
	ids := part[len(packMagic):head]
	return &Pack{hex.EncodeToString(ids[:idLength]), hex.EncodeToString(ids[idLength:]), part[head:]}, true
}
