package serve

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/internal/manifest"
	"distd/pkg/torrentfile"
)

func magnetOf(t *testing.T, s *Server, path, host string) *torrentfile.Magnet {
	t.Helper()
	r := ask(s, "GET", path, "Host", host)
	b := body(t, r)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Fatalf("%s: %d %v %s", path, r.StatusCode, r.Header, b)
	}
	link, ok := strings.CutSuffix(b, "\n")
	if !ok || strings.Contains(link, "\n") {
		t.Fatalf("%s: %q is not one line", path, b)
	}
	m, err := torrentfile.ParseMagnet(link)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// TestMagnetServed: a link has the addresses that the torrent has for the same
// client.
func TestMagnetServed(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 100_000)
	site := tree(t, c)
	ih := torrentOf(t, newServer(t, Config{Catalog: c}), "/"+escapedISO+".torrent").InfoHash
	cdn, master := "https://cdn.example/x/"+escapedISO, "http://bt.master/"+escapedISO
	dir := "/releases/" + rel.ID + "/"
	for _, tc := range []struct {
		name, host string
		cfg        Config
		want       torrentfile.Magnet
	}{
		{"seed", "Seed.DC1:6969", Config{AnnounceURLs: announce, LocalOnly: true, PeerPort: 6881}, torrentfile.Magnet{
			Trackers: []string{"http://seed.dc1:6969/announce"}, WebSeeds: []string{"http://seed.dc1:6969" + dir + "content/" + escapedISO},
			Sources: []string{"http://seed.dc1:6969" + dir + escapedISO + ".torrent"}, Peers: []string{"seed.dc1:6881"}}},
		{"IPv6", "[2001:db8::1]:6969", Config{AnnounceURLs: announce, LocalOnly: true, PeerPort: 6881}, torrentfile.Magnet{
			Trackers: []string{"http://[2001:db8::1]:6969/announce"}, WebSeeds: []string{"http://[2001:db8::1]:6969" + dir + "content/" + escapedISO},
			Sources: []string{"http://[2001:db8::1]:6969" + dir + escapedISO + ".torrent"}, Peers: []string{"[2001:db8::1]:6881"}}},
		{"public URL, no peers", "evil.example", Config{AnnounceURLs: announce, PublicURL: "https://bt.example/d/"}, torrentfile.Magnet{
			Trackers: []string{"https://bt.example/d/announce"}, WebSeeds: []string{"https://bt.example/d" + dir + "content/" + escapedISO, cdn, master},
			Sources: []string{"https://bt.example/d" + dir + escapedISO + ".torrent"}}},
		{"no tracker", "host", Config{}, torrentfile.Magnet{
			Trackers: []string{"http://stored.example/announce"}, WebSeeds: []string{"http://host" + dir + "content/" + escapedISO, cdn, master},
			Sources: []string{"http://host" + dir + escapedISO + ".torrent"}}},
		{"bad Host", `a"b`, Config{AnnounceURLs: announce, PeerPort: 6881}, torrentfile.Magnet{
			Trackers: []string{"http://stored.example/announce"}, WebSeeds: []string{cdn, master}}},
	} {
		tc.cfg.Catalog = c
		s := newServer(t, tc.cfg)
		tc.want.InfoHash, tc.want.Name, tc.want.Length = ih, "FreeBSD 8.4.iso", 100_000
		for _, path := range []string{"/" + escapedISO + ".magnet", dir + escapedISO + ".magnet"} {
			if diff := cmp.Diff(&tc.want, magnetOf(t, s, path, tc.host)); diff != "" {
				t.Errorf("%s: %s: (-want +got)\n%s", tc.name, path, diff)
			}
		}
	}
	s := newServer(t, Config{Catalog: c, AnnounceURLs: announce, PeerPort: 1})
	link, err := s.Magnet(rel, "http://seed")
	if want := body(t, ask(s, "GET", "/"+escapedISO+".magnet", "Host", "seed")); err != nil || link+"\n" != want {
		t.Errorf("link %q, %v; served is %q", link, err, want)
	}
	if !strings.Contains(link, "xt=urn:btih:"+hex.EncodeToString(ih[:])+"&dn=FreeBSD%208.4.iso&xl=100000&") {
		t.Errorf("link %q", link)
	}
	// The web seed of a tree is what clients append its name to.
	if m := magnetOf(t, s, "/site.magnet", "seed"); m.WebSeeds[0] != "http://seed/releases/"+site.ID+"/content/" {
		t.Errorf("tree: %q", m.WebSeeds)
	}
}

// TestMagnetOfManyMirrors: however many there are, the link stays short.
func TestMagnetOfManyMirrors(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	for range 90 {
		rel.Manifest.Mirrors = append(rel.Manifest.Mirrors, rel.Manifest.Mirrors[0])
	}
	lay, err := rel.Manifest.Layout()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(rel.Dir, rel.Manifest.Name+".torrent"), storedTorrent(t, rel.Manifest, lay))
	s := newServer(t, Config{Catalog: c})
	if b := body(t, ask(s, "GET", "/"+escapedISO+".magnet")); len(b) > 1500 {
		t.Errorf("the link has %d bytes: %s", len(b), b)
	}
}

// TestMagnetWithoutTorrent: a link that cannot be made is no file of another
// kind.
func TestMagnetWithoutTorrent(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	s := newServer(t, Config{Catalog: c})
	file := filepath.Join(rel.Dir, rel.Manifest.Name+".torrent")
	put(t, file, []byte("no torrent"))
	if r := ask(s, "GET", "/"+escapedISO+".magnet"); r.StatusCode != 500 {
		t.Errorf("damaged torrent: %d %q", r.StatusCode, body(t, r))
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r := ask(s, "GET", "/releases/"+rel.ID+"/"+manifest.EscapePath(rel.Manifest.Name)+".magnet"); r.StatusCode != 404 {
		t.Errorf("no torrent: %d %q", r.StatusCode, body(t, r))
	}
}
