package serve

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"distd/internal/manifest"
	"distd/internal/shrink"
	"distd/pkg/torrentfile"
)

// pairOf adds two releases of a channel and one of another.
func pairOf(t *testing.T, c *catalog) (old, now, other *Release) {
	t.Helper()
	old, _ = c.iso(t, 100_000)
	now, other = tree(t, c), c.add(t, "other", manifest.KindFile, []manifest.File{{Path: "other", Mode: 0o644}}, map[string][]byte{"other": []byte("x")})
	other.Manifest.Channel = "other"
	text := strings.Repeat("a manifest that repeats itself ", 1000)
	put(t, filepath.Join(old.Dir, "manifest.json"), []byte(text+"old"))
	put(t, filepath.Join(now.Dir, "manifest.json"), []byte(text+"new"))
	return old, now, other
}

func stored(t *testing.T, rel *Release, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(rel.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func info(t *testing.T, rel *Release) []byte {
	t.Helper()
	tor, err := torrentfile.Parse(stored(t, rel, rel.Manifest.Name+".torrent"))
	if err != nil {
		t.Fatal(err)
	}
	return tor.InfoBytes
}

func TestShortDocuments(t *testing.T) {
	c := newCatalog()
	old, now, _ := pairOf(t, c)
	s := newServer(t, Config{Catalog: c})
	for _, tc := range []struct {
		doc        string
		base, want []byte
	}{
		{manifest.ManifestDocument, stored(t, old, "manifest.json"), stored(t, now, "manifest.json")},
		{manifest.InfoDocument, info(t, old), info(t, now)},
	} {
		for base, dict := range map[string][]byte{"": nil, old.ID: tc.base} {
			path := "/releases/" + now.ID + "/" + manifest.ShortName(tc.doc, base)
			// All who ask at once get the same.
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					r := ask(s, "GET", path)
					packed := body(t, r)
					if r.StatusCode != 200 || r.Header.Get("Cache-Control") != cacheForever || r.Header.Get("Content-Type") != typeZstd || r.Header.Get("Content-Encoding") != "" {
						t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
					}
					got, err := shrink.Unpack([]byte(packed), dict, 1<<20)
					if err != nil || !bytes.Equal(got, tc.want) {
						t.Errorf("%s: %d bytes became %d, %v; want %d", path, len(packed), len(got), err, len(tc.want))
					}
				})
			}
			wg.Wait()
		}
	}
	if n := len(s.made.entries); n != 4 {
		t.Errorf("%d documents are kept", n)
	}
}

func TestShortDocumentsRefused(t *testing.T) {
	c := newCatalog()
	old, now, other := pairOf(t, c)
	broken, none, large := other.ID, strings.Repeat("0", 64), now.ID
	put(t, filepath.Join(other.Dir, "other.torrent"), []byte("no torrent"))
	put(t, filepath.Join(now.Dir, "manifest.json"), make([]byte, shrink.MaxPair))
	s := newServer(t, Config{Catalog: c})
	for name, path := range map[string]string{
		"unknown base":    now.ID + "/" + manifest.ShortName(manifest.InfoDocument, none),
		"another channel": now.ID + "/" + manifest.ShortName(manifest.InfoDocument, other.ID),
		"itself":          now.ID + "/" + manifest.ShortName(manifest.InfoDocument, now.ID),
		"too large":       large + "/" + manifest.ShortName(manifest.ManifestDocument, old.ID),
		"a torn torrent":  broken + "/info.zst",
		"no document":     now.ID + "/SHA256SUMS.zst",
	} {
		if r := ask(s, "GET", "/releases/"+path); r.StatusCode != http.StatusNotFound || r.Header.Get("Cache-Control") != cacheNever {
			t.Errorf("%s: %d %v", name, r.StatusCode, r.Header)
		}
	}
}

// TestShortKept: what another node has given is passed on as it is, for the releases
// that are here.
func TestShortKept(t *testing.T) {
	c := newCatalog()
	old, now, other := pairOf(t, c)
	s := newServer(t, Config{Catalog: c})
	s.KeepShort(now.ID, manifest.ManifestDocument, old.ID, []byte("as it came"))
	s.KeepShort(now.ID, manifest.ManifestDocument, other.ID, []byte("of another channel"))
	r := ask(s, "GET", "/releases/"+now.ID+"/"+manifest.ShortName(manifest.ManifestDocument, old.ID))
	if got := body(t, r); got != "as it came" {
		t.Errorf("%d %q", r.StatusCode, got)
	}
	if r := ask(s, "GET", "/releases/"+now.ID+"/"+manifest.ShortName(manifest.ManifestDocument, other.ID)); r.StatusCode != http.StatusNotFound {
		t.Errorf("of another channel: %d", r.StatusCode)
	}
}
