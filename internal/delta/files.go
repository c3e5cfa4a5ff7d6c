package delta

import (
	"encoding/hex"

	"distd/internal/manifest"
)

// FilesOf returns the files with bytes of their own of a release that was checked,
// in the order of its torrent.
func FilesOf(m *manifest.Manifest) []File {
	out := make([]File, 0, len(m.Files))
	for _, i := range m.Regular() {
		f := &m.Files[i]
		d := File{Size: f.Size}
		_, _ = hex.Decode(d.SHA256[:], []byte(f.SHA256)) // Check has looked at it
		out = append(out, d)
	}
	return out
}
