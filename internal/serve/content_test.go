package serve

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/internal/manifest"
)

const escapedISO = "FreeBSD%208.4.iso"

func TestContentHeaders(t *testing.T) {
	c := newCatalog()
	rel, data := c.iso(t, 100_000)
	s := newServer(t, Config{Catalog: c})
	sum := sha256.Sum256(data)
	b64 := base64.StdEncoding.EncodeToString(sum[:])
	rels := "http://seed.dc1:6969/releases/" + rel.ID + "/" + escapedISO
	want := http.Header{
		"Content-Length":         {"100000"},
		"Content-Type":           {contentType("x.iso")},
		"Accept-Ranges":          {"bytes"},
		"Etag":                   {`"sha256-` + hex.EncodeToString(sum[:]) + `"`},
		"Digest":                 {"SHA-256=" + b64},
		"Repr-Digest":            {"sha256=:" + b64 + ":"},
		"Last-Modified":          {"Fri, 02 Jan 2026 03:04:05 GMT"},
		"X-Content-Type-Options": {"nosniff"},
		"Cache-Control":          {"public, max-age=31536000, immutable"},
		"Link": {
			"<https://cdn.example/x/FreeBSD%208.4.iso>; rel=duplicate; pri=1; geo=external",
			"<http://bt.master/FreeBSD%208.4.iso>; rel=duplicate; pri=91; geo=internal",
			"<" + rels + `.torrent>; rel=describedby; type="application/x-bittorrent"`,
			"<" + rels + `.meta4>; rel=describedby; type="application/metalink4+xml"`,
		},
	}
	for _, method := range []string{"GET", "HEAD"} {
		for path, cache := range map[string]string{"/releases/" + rel.ID + "/content/" + escapedISO: "public, max-age=31536000, immutable", "/" + escapedISO: "no-cache"} {
			want.Set("Cache-Control", cache)
			r := ask(s, method, path, "Host", "SEED.dc1:6969")
			if diff := cmp.Diff(want, r.Header); r.StatusCode != 200 || diff != "" {
				t.Errorf("%s %s: status %d, headers (-want +got):\n%s", method, path, r.StatusCode, diff)
			}
			got := body(t, r)
			if method == "GET" && got != string(data) || method == "HEAD" && got != "" {
				t.Errorf("%s %s: wrong body of %d bytes", method, path, len(got))
			}
		}
	}
}

func TestRanges(t *testing.T) {
	c := newCatalog()
	rel, data := c.iso(t, 1000)
	s := newServer(t, Config{Catalog: c})
	path := "/releases/" + rel.ID + "/content/" + escapedISO
	etag := ask(s, "HEAD", path).Header.Get("ETag")
	modified := "Fri, 02 Jan 2026 03:04:05 GMT"
	for _, tc := range []struct {
		name   string
		header []string
		code   int
		rng    string // Content-Range
		body   string
	}{
		{"one range", []string{"Range", "bytes=10-19"}, 206, "bytes 10-19/1000", string(data[10:20])},
		{"to the end", []string{"Range", "bytes=990-"}, 206, "bytes 990-999/1000", string(data[990:])},
		{"suffix", []string{"Range", "bytes=-5"}, 206, "bytes 995-999/1000", string(data[995:])},
		{"past the end", []string{"Range", "bytes=1000-"}, 416, "bytes */1000", ""},
		{"malformed", []string{"Range", "bytes=x"}, 416, "", ""},
		{"If-Range with the tag", []string{"Range", "bytes=0-0", "If-Range", etag}, 206, "bytes 0-0/1000", "0"},
		{"If-Range with another tag", []string{"Range", "bytes=0-0", "If-Range", `"sha256-00"`}, 200, "", string(data)},
		{"If-Range with a weak tag", []string{"Range", "bytes=0-0", "If-Range", "W/" + etag}, 200, "", string(data)},
		{"If-Range with the date", []string{"Range", "bytes=0-0", "If-Range", modified}, 206, "bytes 0-0/1000", "0"},
		{"If-None-Match", []string{"If-None-Match", etag}, 304, "", ""},
		{"If-None-Match with others", []string{"If-None-Match", `"a", ` + etag}, 304, "", ""},
		{"If-None-Match with another", []string{"If-None-Match", `"a"`}, 200, "", string(data)},
		{"If-Match with another", []string{"If-Match", `"a"`}, 412, "", ""},
		{"If-Modified-Since", []string{"If-Modified-Since", modified}, 304, "", ""},
		{"too many ranges", []string{"Range", "bytes=" + strings.Repeat("0-0,", maxRanges) + "1-1"}, 200, "", string(data)},
	} {
		r := ask(s, "GET", path, tc.header...)
		if r.StatusCode != tc.code || r.Header.Get("Content-Range") != tc.rng {
			t.Errorf("%s: status %d, Content-Range %q; want %d, %q", tc.name, r.StatusCode, r.Header.Get("Content-Range"), tc.code, tc.rng)
		}
		if got := body(t, r); tc.code < 300 && got != tc.body {
			t.Errorf("%s: body of %d bytes, want %d", tc.name, len(got), len(tc.body))
		}
		if described := r.Header.Get("Digest") != ""; described != (tc.code < 400 && tc.name != "If-Range with the tag") {
			t.Errorf("%s: status %d with Digest %q", tc.name, tc.code, r.Header.Get("Digest"))
		}
	}
	r := ask(s, "GET", path, "Range", "bytes=0-1,998-999")
	if b := body(t, r); r.StatusCode != 206 || !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/byteranges") || !strings.Contains(b, "bytes 998-999/1000") {
		t.Errorf("two ranges: %d %v %q", r.StatusCode, r.Header, b)
	}
}

func tree(t *testing.T, c *catalog) *Release {
	return c.add(t, "site", manifest.KindTree, []manifest.File{
		{Path: "a.html", Mode: 0o644},
		{Path: "b/ü x.css", Mode: 0o644},
		{Path: "current", Symlink: "a.html"},
		{Path: "empty", Mode: 0o644},
	}, map[string][]byte{"a.html": []byte("<p>"), "b/ü x.css": []byte("p{}"), "empty": {}})
}

func TestTree(t *testing.T) {
	c := newCatalog()
	rel := tree(t, c)
	// Files that the manifest does not list are not served, and neither is
	// what a symlink in place of a listed one leads to.
	put(t, filepath.Join(rel.Dir, "content", "site", "secret"), []byte("secret"))
	put(t, filepath.Join(rel.Dir, "outside"), nil)
	if err := os.Remove(filepath.Join(rel.Dir, "content/site/empty")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../outside", filepath.Join(rel.Dir, "content/site/empty")); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Config{Catalog: c})
	for _, base := range []string{"/site", "/releases/" + rel.ID + "/content/site"} {
		for path, want := range map[string]string{
			"/a.html":             "200 <p>",
			"/b/%C3%BC%20x.css":   "200 p{}",
			"":                    "404 ",
			"/":                   "404 ",
			"/b":                  "404 ",
			"/b/":                 "404 ",
			"/a.html/":            "404 ",
			"/current":            "404 this is a symlink, to a.html\n",
			"/secret":             "404 ",
			"/b/../a.html":        "404 ",
			"/../outside":         "404 ",
			"/%2e%2e/outside":     "404 ",
			"/b%5c..%5ca.html":    "404 ",
			"//a.html":            "404 ",
			"/a.html%00":          "404 ",
			"/empty":              "500 ",
			"/../../../etc/hosts": "404 ",
		} {
			r := ask(s, "GET", base+path)
			got := r.Status[:4] + body(t, r)
			if !strings.HasPrefix(got, want) || strings.HasPrefix(want, "200") && got != want {
				t.Errorf("%s: %q, want %q", base+path, got, want)
			}
		}
	}
	links := ask(s, "HEAD", "/site/b/%C3%BC%20x.css").Header["Link"]
	if len(links) != 4 || links[0] != "<https://cdn.example/x/site/b/%C3%BC%20x.css>; rel=duplicate; pri=1; geo=external" || !strings.HasSuffix(links[2], `; name*=UTF-8''site%2Fb%2F%C3%BC%20x.css`) {
		t.Errorf("links of a file in a tree: %q", links)
	}
}

func TestIncomplete(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	rel.Complete = false
	s := newServer(t, Config{Catalog: c})
	for _, path := range []string{"/releases/" + rel.ID + "/content/" + escapedISO, "/" + escapedISO} {
		r := ask(s, "GET", path)
		if r.StatusCode != 503 || r.Header.Get("Retry-After") != "5" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
	}
	if r := ask(s, "GET", "/releases/"+rel.ID+"/manifest.json"); r.StatusCode != 200 {
		t.Errorf("manifest of an unfinished release: %d", r.StatusCode)
	}
	if r := ask(s, "GET", "/releases/"+rel.ID+"/content/other"); r.StatusCode != 404 {
		t.Errorf("a file that the release does not have: %d", r.StatusCode)
	}
}

// moving hands out the staging folder once and the final one afterwards.
type moving struct {
	*catalog
	first *Release
}

func (m *moving) Release(id string) (*Release, error) {
	if r := m.first; r != nil {
		m.first = nil
		return r, nil
	}
	return m.catalog.Release(id)
}

func TestReleaseMovesAway(t *testing.T) {
	c := newCatalog()
	rel, data := c.iso(t, 1000)
	for _, path := range []string{"/content/" + escapedISO, "/manifest.json", "/" + escapedISO + ".torrent"} {
		old := *rel
		old.Dir = filepath.Join(rel.Dir, "staging")
		s := newServer(t, Config{Catalog: &moving{c, &old}})
		r := ask(s, "GET", "/releases/"+rel.ID+path)
		if b := body(t, r); r.StatusCode != 200 || strings.Contains(path, "content") && b != string(data) {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

func TestDamagedContent(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	s := newServer(t, Config{Catalog: c})
	path := filepath.Join(rel.Dir, "content", rel.Manifest.Name)
	if err := os.Truncate(path, 999); err != nil {
		t.Fatal(err)
	}
	r := ask(s, "GET", "/"+escapedISO)
	if r.StatusCode != 500 || r.Header.Get("ETag") != "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("short file: %d %v", r.StatusCode, r.Header)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := ask(s, "GET", "/"+escapedISO); r.StatusCode != 404 {
		t.Errorf("missing file: %d", r.StatusCode)
	}
	c.err = errors.New("disk on fire")
	if r := ask(s, "GET", "/"+escapedISO); r.StatusCode != 500 || strings.Contains(body(t, r), "fire") {
		t.Errorf("failing catalog: %d", r.StatusCode)
	}
}

// TestLaterRangesAreBrief: digests and links come with the first answer, not
// with each further range of a client that knows the ETag.
func TestLaterRangesAreBrief(t *testing.T) {
	c := newCatalog()
	rel := c.add(t, "x.bin", manifest.KindFile, []manifest.File{{Path: "x.bin", Mode: 0o644}}, map[string][]byte{"x.bin": []byte("0123456789")})
	s := newServer(t, Config{Catalog: c})
	u := "/releases/" + rel.ID + "/content/x.bin"
	etag := ask(s, "GET", u).Header.Get("ETag")
	for _, tc := range []struct {
		rng, ifRange string
		code         int
		brief        bool
	}{
		{"", "", 200, false},
		{"bytes=4-7", "", 206, false},
		{"bytes=4-7", etag, 206, true},
		{"bytes=4-7", `"other"`, 200, false},
	} {
		r := httptest.NewRequest("GET", u, nil)
		for k, v := range map[string]string{"Range": tc.rng, "If-Range": tc.ifRange} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		h := w.Result().Header
		if w.Code != tc.code || h.Get("ETag") != etag {
			t.Errorf("%+v: %d, %v", tc, w.Code, h)
		}
		for _, k := range []string{"Digest", "Repr-Digest", "Link"} {
			if (h.Get(k) == "") != tc.brief {
				t.Errorf("%+v: %s is %q", tc, k, h.Get(k))
			}
		}
	}
}
