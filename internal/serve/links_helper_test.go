package serve

import (
	"bytes"
	"testing"

	"distd/internal/manifest"
	"distd/pkg/metalink"
)

// storedMetalink makes the metalink that a publisher would store.
func storedMetalink(t testing.TB, m *manifest.Manifest, version int) []byte {
	t.Helper()
	d := &metalink.Document{}
	for _, f := range m.Files {
		if f.Symlink != "" {
			continue
		}
		out := metalink.File{Name: m.ContentPath(f.Path), Size: f.Size, Hashes: map[string]string{"sha-256": f.SHA256}}
		for _, mirror := range m.Mirrors {
			out.URLs = append(out.URLs, metalink.URL{URL: mirror.FileURL(m.Kind, f.Path), Priority: 101 - mirror.Preference, Location: mirror.Location})
		}
		out.Torrents = []metalink.URL{{URL: "http://stored.example/x.torrent", Priority: 1, Location: "internal", Name: "as stored"}}
		d.Files = append(d.Files, out)
	}
	var b bytes.Buffer
	write := d.WriteV3
	if version == 4 {
		write = d.WriteV4
	}
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
