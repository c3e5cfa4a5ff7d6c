package metalink

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const pgp = "-----BEGIN PGP SIGNATURE-----\nVersion: GnuPG v2\n\niEYEABECAAYFAk\n=abcd\n-----END PGP SIGNATURE-----"

// kinds are documents of testdata/kinds, in the manner of other projects.
var kinds = map[string]Document{
	"aria2.metalink": {Files: []File{
		{
			Name: "tool-1.2.tar.bz2", Size: -1, Hashes: map[string]string{"md5": md5Hex, "sha-1": sha1Hex},
			URLs: []URL{
				{URL: "ftp://ftphost/tool-1.2.tar.bz2", Priority: 1, Location: "jp", Type: "ftp", MaxConnections: 1},
				{URL: "http://httphost/tool-1.2.tar.bz2", Priority: 1, Location: "us", Type: "http"},
			},
		},
		{
			Name: "unknown-kinds", Size: 300_000, Hashes: map[string]string{}, Pieces: &Pieces{Type: "sha-1", Length: 262_144, Hashes: []string{sha1Hex, sha1Hex}},
			URLs: []URL{{URL: "ftp://host/file", Priority: 1, Type: "ftp"}},
		},
		{
			Name: "torrent.integrated", Size: -1, Hashes: map[string]string{},
			URLs:     []URL{{URL: "http://host/torrent.integrated", Priority: 1, Type: "http"}},
			Torrents: []URL{{URL: "http://host/torrent.integrated.torrent", Priority: 1, Type: "torrent"}},
		},
	}},
	"mirrormanager.metalink": {Dynamic: true, Generator: "mirrormanager", Published: time.Unix(1_700_000_000, 0).UTC(), Files: []File{{
		Name: "repomd.xml", Size: 6000, Hashes: map[string]string{"md5": md5Hex, "sha-1": sha1Hex, "sha-256": sha256Hex},
		URLs: []URL{
			{URL: "https://mirror.example.de/fedora/repodata/repomd.xml", Priority: 1, Location: "de", Type: "https"},
			{URL: "http://mirror.example.us/fedora/repodata/repomd.xml", Priority: 2, Location: "us", Type: "http"},
		},
	}}},
	"mirrorbrain.meta4": {
		Dynamic: true, Origin: "http://download.example.org/iso/dvd.iso.meta4", Generator: "MirrorBrain/2.19.0", Published: time.Unix(1_700_000_000, 0).UTC(),
		Files: []File{{
			Name: "dvd.iso", Size: 300_000, Hashes: map[string]string{"md5": md5Hex, "sha-256": sha256Hex},
			Pieces: &Pieces{Type: "sha-1", Length: 262_144, Hashes: []string{sha1Hex, sha1Hex}},
			URLs: []URL{
				{URL: "http://a.example.de/iso/dvd.iso", Priority: 1, Location: "de", Type: "http"},
				{URL: "http://b.example.us/iso/dvd.iso", Priority: 200, Location: "us", Type: "http"},
			},
			Torrents:   []URL{{URL: "http://download.example.org/iso/dvd.iso.torrent", Priority: 1, Type: "torrent"}},
			Signatures: []Signature{{MediaType: SignaturePGP, Text: pgp}},
		}},
	},
	"folders.meta4": {Files: []File{
		{
			Name: "site/index.html", Size: 10, Hashes: map[string]string{}, URLs: []URL{{URL: "http://m/site/index.html", Priority: LowestPriority, Type: "http"}},
			Torrents: []URL{{URL: "http://m/site.torrent", Priority: 1, Type: "torrent", Name: "site/index.html"}},
		},
		{
			Name: "site/img/a b.png", Size: 20, Hashes: map[string]string{}, URLs: []URL{{URL: "http://m/site/img/a%20b.png", Priority: 3, Location: "fr", Type: "http"}},
			Torrents: []URL{{URL: "http://m/site.torrent", Priority: 1, Type: "torrent", Name: "site/img/a b.png"}},
		},
	}},
}

// Each is read whole, and what is read comes back from both versions but for
// what one of them cannot express.
func TestKinds(t *testing.T) {
	files, err := filepath.Glob("testdata/kinds/*")
	if err != nil || len(files) != len(kinds) {
		t.Fatalf("%d files for %d documents: %v", len(files), len(kinds), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			got, err := Parse(f)
			if err != nil {
				t.Fatal(err)
			}
			want := kinds[filepath.Base(path)]
			if d := cmp.Diff(&want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for version, text := range map[string]string{"3": v3(t, got), "4": v4(t, got)} {
				back, err := Parse(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(common(t, got), common(t, back)); d != "" {
					t.Errorf("version %s (-want +got):\n%s", version, d)
				}
			}
		})
	}
}

// aria2c understands them in the same way, as far as it shows it.
func TestAria2ShowsKinds(t *testing.T) {
	needCommand(t, "aria2c")
	for name, doc := range kinds {
		out, err := aria2Show(t, filepath.Join("testdata/kinds", name))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		for _, f := range doc.Files {
			if !strings.Contains(out, f.Name) {
				t.Errorf("%s: aria2c does not show %s:\n%s", name, f.Name, out)
			}
		}
	}
}
