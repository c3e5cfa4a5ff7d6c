package serve

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

func torrentOf(t *testing.T, s *Server, path string, header ...string) *torrentfile.Torrent {
	t.Helper()
	r := ask(s, "GET", path, header...)
	b := body(t, r)
	if r.StatusCode != 200 {
		t.Fatalf("%s: %d %s", path, r.StatusCode, b)
	}
	tor, err := torrentfile.Parse([]byte(b))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tor
}

func announce(base string) [][]string { return [][]string{{base + "/announce"}} }

func TestTorrentServed(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 100_000)
	site := tree(t, c)
	cdn, master := "https://cdn.example/x/"+escapedISO, "http://bt.master/"+escapedISO
	for _, tc := range []struct {
		name, host, public string
		local              bool
		announce           string
		seeds              []string
	}{
		{name: "by Host", host: "Seed.DC1:6969", announce: "http://seed.dc1:6969/announce", seeds: []string{"http://seed.dc1:6969/releases/" + rel.ID + "/content/" + escapedISO, cdn, master}},
		{name: "by address", host: "[2001:db8::1]:80", announce: "http://[2001:db8::1]:80/announce", seeds: []string{"http://[2001:db8::1]:80/releases/" + rel.ID + "/content/" + escapedISO, cdn, master}},
		{name: "by public URL", host: "evil.example", public: "https://bt.example/distd/", announce: "https://bt.example/distd/announce", seeds: []string{"https://bt.example/distd/releases/" + rel.ID + "/content/" + escapedISO, cdn, master}},
		{name: "already a mirror", host: "bt.master", announce: "http://bt.master/announce", seeds: []string{cdn, master}},
		{name: "zone only", host: "seed", local: true, announce: "http://seed/announce", seeds: []string{"http://seed/releases/" + rel.ID + "/content/" + escapedISO}},
		{name: "bad Host", host: "a\"b", announce: "http://stored.example/announce", seeds: []string{cdn, master}},
	} {
		s := newServer(t, Config{Catalog: c, AnnounceURLs: announce, PublicURL: tc.public, LocalOnly: tc.local})
		for _, path := range []string{"/" + escapedISO + ".torrent", "/releases/" + rel.ID + "/" + escapedISO + ".torrent"} {
			tor := torrentOf(t, s, path, "Host", tc.host)
			if diff := cmp.Diff([][]string{{tc.announce}}, tor.Announce) + cmp.Diff(tc.seeds, tor.WebSeeds); diff != "" {
				t.Errorf("%s: %s: (-want +got)\n%s", tc.name, path, diff)
			}
		}
	}
	s := newServer(t, Config{Catalog: c})
	tor := torrentOf(t, s, "/site.torrent", "Host", "seed")
	if tor.WebSeeds[0] != "http://seed/releases/"+site.ID+"/content/" || tor.Announce[0][0] != "http://stored.example/announce" {
		t.Errorf("tree: %q %q", tor.WebSeeds, tor.Announce)
	}
	stored, err := os.ReadFile(filepath.Join(site.Dir, "site.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := torrentfile.Parse(stored); err != nil || want.InfoHash != tor.InfoHash {
		t.Errorf("infohash changed: %x, %v", tor.InfoHash, err)
	}
}

func TestMetalinkServed(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	site := tree(t, c)
	get := func(s *Server, path, host string) *metalink.Document {
		t.Helper()
		d, err := metalink.Parse(strings.NewReader(body(t, ask(s, "GET", path, "Host", host))))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return d
	}
	urls := func(f metalink.File) (out []metalink.URL) {
		for _, u := range append(f.URLs[:len(f.URLs):len(f.URLs)], f.Torrents...) {
			out = append(out, metalink.URL{URL: u.URL, Priority: u.Priority, Location: u.Location})
		}
		return out
	}
	cdn, master := "https://cdn.example/x/", "http://bt.master/"
	own := func(host string, path string) string { return "http://" + host + "/releases/" + path }
	s := newServer(t, Config{Catalog: c})
	zone := newServer(t, Config{Catalog: c, LocalOnly: true})
	for _, ext := range []string{".metalink", ".meta4"} {
		for _, tc := range []struct {
			name string
			s    *Server
			host string
			want []metalink.URL
		}{
			{"new to the list", s, "seed", []metalink.URL{{URL: own("seed", rel.ID+"/content/"+escapedISO), Priority: 1}, {URL: cdn + escapedISO, Priority: 2, Location: "external"},
				{URL: master + escapedISO, Priority: 92, Location: "internal"}, {URL: own("seed", rel.ID+"/"+escapedISO+".torrent"), Priority: 1, Location: "internal"}}},
			{"in the list", s, "bt.master:80", []metalink.URL{{URL: cdn + escapedISO, Priority: 1, Location: "external"}, {URL: master + escapedISO, Priority: 91, Location: "internal"},
				{URL: own("bt.master:80", rel.ID+"/"+escapedISO+".torrent"), Priority: 1, Location: "internal"}}},
			{"zone only", zone, "bt.master", []metalink.URL{{URL: own("bt.master", rel.ID+"/content/"+escapedISO), Priority: 1}, {URL: own("bt.master", rel.ID+"/"+escapedISO+".torrent"), Priority: 1, Location: "internal"}}},
		} {
			if ext == ".meta4" { // which has no place for a torrent's location
				tc.want[len(tc.want)-1].Location = ""
			}
			d := get(tc.s, "/"+escapedISO+ext, tc.host)
			if diff := cmp.Diff(tc.want, urls(d.Files[0])); diff != "" || len(d.Files) != 1 {
				t.Errorf("%s%s: (-want +got)\n%s", tc.name, ext, diff)
			}
		}
		d := get(s, "/site"+ext, "seed")
		if len(d.Files) != 3 || d.Files[1].Name != "site/b/ü x.css" || d.Files[1].URLs[0].URL != own("seed", site.ID+"/content/site/b/%C3%BC%20x.css") || d.Files[1].URLs[1].URL != cdn+"site/b/%C3%BC%20x.css" {
			t.Errorf("tree%s: %+v", ext, d.Files)
		}
		// Version 3 cannot name a file of a torrent, so it has none for a tree.
		if n := len(d.Files[1].Torrents); (n == 1) != (ext == ".meta4") {
			t.Errorf("tree%s: %d torrents at a file", ext, n)
		}
	}
}

func TestDamagedTorrentIsServedAsStored(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	put(t, filepath.Join(rel.Dir, rel.Manifest.Name+".torrent"), []byte("d4:info"))
	s := newServer(t, Config{Catalog: c})
	if b := body(t, ask(s, "GET", "/"+escapedISO+".torrent")); b != "d4:info" {
		t.Errorf("got %q", b)
	}
}

func TestMadeDocumentsAreSharedAndBounded(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	one := len(body(t, ask(newServer(t, Config{Catalog: c}), "GET", "/"+escapedISO+".torrent", "Host", "h0")))
	s := newServer(t, Config{Catalog: c, CacheBytes: int64(3 * (one + 512))})
	var wg sync.WaitGroup
	var mu sync.Mutex
	bodies := map[string][]byte{}
	for i := range 64 {
		wg.Go(func() {
			host := "h" + string(rune('0'+i%8))
			b := []byte(body(t, ask(s, "GET", "/"+escapedISO+".torrent", "Host", host)))
			mu.Lock()
			defer mu.Unlock()
			if old, ok := bodies[host]; ok && !bytes.Equal(old, b) {
				t.Errorf("%s: two answers differ", host)
			}
			bodies[host] = b
		})
	}
	wg.Wait()
	if len(bodies) != 8 || s.made.weight > s.made.max || len(s.made.entries) != 3 {
		t.Errorf("%d hosts, cache of %d entries and %d of %d bytes", len(bodies), len(s.made.entries), s.made.weight, s.made.max)
	}
	// What was made for one address is not made again.
	if err := os.Remove(filepath.Join(rel.Dir, rel.Manifest.Name+".torrent")); err != nil {
		t.Fatal(err)
	}
	s.made.put(madeKey{rel.ID, ".torrent", "http://kept"}, newDocument([]byte("kept")), 4)
	if b := body(t, ask(s, "GET", "/"+escapedISO+".torrent", "Host", "kept")); b != "kept" {
		t.Errorf("not from the cache: %q", b)
	}
	if r := ask(s, "GET", "/"+escapedISO+".torrent", "Host", "other"); r.StatusCode != 404 {
		t.Errorf("file gone, but %d", r.StatusCode)
	}
}

func TestValidHost(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "Bt.Master:8443": "bt.master:8443", "192.0.2.1": "192.0.2.1", "[::1]": "[::1]", "[2001:DB8::1]:80": "[2001:db8::1]:80", "a_b-c.d": "a_b-c.d", "host.": "host.",
	} {
		if got, ok := validHost(in); !ok || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", ":80", "a:", "a:0", "a:65536", "a:+1", "a:08", "a:1x", "a b", "a/b", "a@b", "a\"", "a<b", "a..b", ".a", "a%41", "é", "[::1", "::1", "[1.2.3.4]", "[fe80::1%eth0]", "[::1]x", "[::1]:", "a\n",
		strings.Repeat("a", 64), strings.Repeat("a.", 128) + "a",
	} {
		if got, ok := validHost(in); ok {
			t.Errorf("%q taken as %q", in, got)
		}
	}
}

func FuzzValidHost(f *testing.F) {
	for _, s := range []string{"a", "a:80", "[::1]:80", "a b", "[", ":", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, ok := validHost(in)
		if !ok {
			return
		}
		if _, err := checkPublicURL("http://" + host); err != nil {
			t.Errorf("%q makes no URL: %v", in, err)
		}
		if strings.ContainsAny(host, " /?#@<>\"'\\\n") {
			t.Errorf("%q taken as %q", in, host)
		}
	})
}

func TestSameServer(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"http://a/x", "http://A:80", true}, {"https://a/", "https://a:443", true}, {"http://a/", "https://a", false}, {"http://a:8/", "http://b:8", false}, {"ftp://a/", "ftp://a", false}, {"%", "http://a", false}, {"http://[::1]/", "http://[::1]:80", true},
	} {
		if got := sameServer(tc.a, tc.b); got != tc.want {
			t.Errorf("%s and %s: %v", tc.a, tc.b, got)
		}
	}
}
