package node

import (
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// renderMeta writes a release's documents from what the publisher has signed:
// the manifest, and the torrent's info dictionary by its infohash. Trackers,
// mirrors and comments of the fetched torrent are not signed and are left out;
// the node's server puts in its own.
func renderMeta(m *manifest.Manifest, t *torrentfile.Torrent, data, sig []byte) (store.Meta, error) {
	bare := *t
	bare.Announce, bare.WebSeeds, bare.Comment, bare.CreatedBy = nil, nil, "", ""
	return publish.Render(m, &bare, data, sig)
}
