package node

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/pkg/metalink"
)

// TestFetchKeepsToLocations: of a metalink's mirrors and torrents only those of
// allowed locations are asked for anything.
func TestFetchKeepsToLocations(t *testing.T) {
	dir, content := t.TempDir(), []byte(strings.Repeat("some content ", 1000))
	if err := os.WriteFile(filepath.Join(dir, "f.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	external, asked := counted(t, dir)
	internal, spared := counted(t, dir)
	doc := filepath.Join(dir, "f.metalink")
	text := fmt.Sprintf(`<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="f.bin"><size>%d</size>`+
		`<verification><hash type="sha256">%x</hash></verification><resources><url preference="100" location="internal" type="http">%s/f.bin</url>`+
		`<url preference="90" location="internal" type="bittorrent">%s/f.bin.torrent</url><url preference="10" location="external" type="http">%s/f.bin</url>`+
		`</resources></file></files></metalink>`, len(content), sha256.Sum256(content), internal, internal, external)
	if err := os.WriteFile(doc, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	get := func(l config.Locations) error {
		to := t.TempDir()
		_, err := Fetch(t.Context(), FetchOptions{Inputs: []string{doc}, Dir: to, Locations: l, WANDown: config.Always(100 << 20), MaxConns: 4, Encryption: "allow", Log: zap.NewNop()})
		if err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(to, "f.bin")); err != nil || string(got) != string(content) {
			t.Errorf("%v: got %d bytes, %v", l, len(got), err)
		}
		return nil
	}
	for _, l := range []config.Locations{{Only: []string{"external"}}, {Except: []string{"internal"}}} {
		before := asked.Load()
		if err := get(l); err != nil || asked.Load() == before || spared.Load() > 0 {
			t.Errorf("%v: %v, %d requests to the external mirror and %d to the internal one", l, err, asked.Load()-before, spared.Load())
		}
	}
	err := get(config.Locations{Except: []string{"internal", "external"}})
	if err == nil || ExitCode(err) != ExUnavailable || !strings.Contains(err.Error(), "exclude_location=internal,external does not allow location internal") || spared.Load() > 0 {
		t.Errorf("with every location left out: %v, exit code %d, %d requests", err, ExitCode(err), spared.Load())
	}
	if err := get(config.Locations{}); err != nil || spared.Load() == 0 {
		t.Errorf("with every location allowed: %v, %d requests to the better mirror", err, spared.Load())
	}
}

func TestLocationOfWebSeed(t *testing.T) {
	urls := []metalink.URL{{URL: "http://a/x/content/site/p", Location: "internal"}, {URL: "http://b/site.bin", Location: "external"}}
	for ws, want := range map[string]string{
		"http://a/x/content/": "internal", "http://a/x/content": "internal", "http://a/x/con": "", "http://b/site.bin": "external", "http://b/site.bin2": "", "http://c/": "",
	} {
		if got := locationOf(ws, urls); got != want {
			t.Errorf("%s is at %q, want %q", ws, got, want)
		}
	}
}
