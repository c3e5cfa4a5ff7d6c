package serve

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetaFiles(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 1000)
	tree(t, c)
	c.point("web", 7)
	s := newServer(t, Config{Catalog: c})
	base := "/releases/" + rel.ID + "/"
	for _, tc := range []struct{ path, ctype, cache string }{
		{base + "manifest.json", "application/json", cacheForever},
		{base + "manifest.json.minisig", "text/plain; charset=utf-8", cacheForever},
		{base + "SHA256SUMS", "text/plain; charset=utf-8", cacheForever},
		{base + "item.bep44", "application/octet-stream", cacheForever},
		{base + escapedISO + ".torrent", "application/x-bittorrent", cacheForever},
		{base + escapedISO + ".metalink", "application/metalink+xml", cacheForever},
		{base + escapedISO + ".meta4", "application/metalink4+xml", cacheForever},
		{"/" + escapedISO + ".torrent", "application/x-bittorrent", cacheCheck},
		{base + escapedISO + ".magnet", "text/plain; charset=utf-8", cacheForever},
		{"/" + escapedISO + ".magnet", "text/plain; charset=utf-8", cacheCheck},
		{"/" + escapedISO + ".metalink", "application/metalink+xml", cacheCheck},
		{"/" + escapedISO + ".meta4", "application/metalink4+xml", cacheCheck},
		{"/site.torrent", "application/x-bittorrent", cacheCheck},
		{"/site/a.html", "text/html; charset=utf-8", cacheCheck},
		{"/channels/web/latest.json", "application/json", cacheCheck},
		{"/channels/web/latest.json.minisig", "text/plain; charset=utf-8", cacheCheck},
		{"/publish.pub", "text/plain; charset=utf-8", cacheCheck},
	} {
		r := ask(s, "GET", tc.path)
		b := body(t, r)
		etag := fmt.Sprintf(`"sha256-%x"`, sha256.Sum256([]byte(b)))
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != tc.ctype || r.Header.Get("Cache-Control") != tc.cache || r.Header.Get("ETag") != etag || r.Header.Get("Repr-Digest") == "" {
			t.Errorf("%s: %d %v, want type %q, cache %q, tag %s", tc.path, r.StatusCode, r.Header, tc.ctype, tc.cache, etag)
		}
		h := ask(s, "HEAD", tc.path)
		if hb := body(t, h); hb != "" || h.ContentLength != int64(len(b)) || h.Header.Get("ETag") != etag {
			t.Errorf("HEAD %s: %v", tc.path, h.Header)
		}
		if r := ask(s, "GET", tc.path, "If-None-Match", etag); r.StatusCode != 304 || r.Header.Get("ETag") != etag || r.Header.Get("Cache-Control") != tc.cache {
			t.Errorf("%s with its tag: %d %v", tc.path, r.StatusCode, r.Header)
		}
	}
	tag := ask(s, "GET", "/channels/web/latest.json").Header.Get("ETag")
	c.point("web", 8)
	if r := ask(s, "GET", "/channels/web/latest.json", "If-None-Match", tag); r.StatusCode != 200 || body(t, r) != `{"channel":"web","serial":8}` {
		t.Errorf("moved pointer with the old tag: %d", r.StatusCode)
	}
}

func TestNotFound(t *testing.T) {
	c := newCatalog()
	rel, _ := c.iso(t, 10)
	s := newServer(t, Config{Catalog: c})
	for _, path := range []string{
		"/", "/nope", "/nope.torrent", "/nope.magnet", "/.magnet", "/.torrent", "/.distd/state.db", "/releases", "/releases/", "/releases/abc/manifest.json",
		"/releases/" + strings.ToUpper(rel.ID) + "/manifest.json", "/releases/" + rel.ID, "/releases/" + rel.ID + "/", "/releases/" + rel.ID + "/content",
		"/releases/" + rel.ID + "/content/", "/releases/" + rel.ID + "/progress", "/releases/" + rel.ID + "/../x", "/releases/" + strings.Repeat("0", 64) + "/manifest.json",
		"/" + escapedISO + "/", "/" + escapedISO + "/x", "/channels/web/latest.json", "/channels/../latest.json", "/channels/Web/latest.json", "/channels/web/", "/channels/",
		"/announce", "/scrape", "/metrics", "/v1/", "/v1/other", "//", "/%00", "/%ff", "/releases//", "/" + strings.Repeat("a", 300), "/" + strings.Repeat("a/", 600),
	} {
		r := ask(s, "GET", path)
		if b := body(t, r); r.StatusCode != 404 || r.Header.Get("Cache-Control") != "no-store" || len(b) < 5 || strings.Count(b, "\n") != 1 {
			t.Errorf("%s: %d %v %q", path, r.StatusCode, r.Header, b)
		}
	}
	c.key = nil
	if r := ask(s, "GET", "/publish.pub"); r.StatusCode != 404 {
		t.Errorf("no key: %d", r.StatusCode)
	}
}

func TestMethodsAndBodies(t *testing.T) {
	s := newServer(t, Config{Catalog: newCatalog()})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for _, tc := range []struct {
		method, path string
		body         string
		code         int
	}{
		{"POST", "/healthz", "", 405}, {"PUT", "/x", "data", 405}, {"DELETE", "/v1/events", "", 405}, {"OPTIONS", "/", "", 405}, {"PATCH", "/announce", "x", 405},
		{"GET", "/healthz", "body", 413}, {"GET", "/healthz", "", 200}, {"HEAD", "/healthz", "", 200},
	} {
		var b io.Reader
		if tc.body != "" {
			b = strings.NewReader(tc.body)
		}
		req, err := http.NewRequest(tc.method, srv.URL+tc.path, b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _ = body(t, r); r.StatusCode != tc.code || tc.code == 405 && r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: %d %v, want %d", tc.method, tc.path, r.StatusCode, r.Header, tc.code)
		}
	}
}

func TestOperatorsPages(t *testing.T) {
	reg := prometheus.NewRegistry()
	var sick error
	s := newServer(t, Config{
		Catalog: newCatalog(), Metrics: reg, Status: func() any { return map[string]int{"releases": 3} },
		Healthy: func() error { return sick }, Ready: func() error { return errors.New("still starting") },
		Tracker: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "tracker "+r.URL.Path) }),
	})
	reg.MustRegister(s.Collector())
	check := func(path string, code int, want string) {
		t.Helper()
		r := ask(s, "GET", path)
		if b := body(t, r); r.StatusCode != code || !strings.Contains(b, want) {
			t.Errorf("%s: %d %q, want %d %q", path, r.StatusCode, b, code, want)
		}
	}
	check("/healthz", 200, "ok\n")
	sick = errors.New("disk is gone")
	check("/healthz", 503, "disk is gone\n")
	check("/readyz", 503, "still starting\n")
	check("/v1/status", 200, `{"releases":3}`)
	check("/announce?info_hash=x", 200, "tracker /announce")
	check("/scrape", 200, "tracker /scrape")
	check("/metrics", 200, `distd_http_requests_total{code="503",route="ops"} 2`)
	check("/metrics", 200, `distd_http_response_bytes_total{route="tracker"} 32`)
}

func TestPanicIsAnswered(t *testing.T) {
	s := newServer(t, Config{Catalog: newCatalog(), Status: func() any { panic("oops") }})
	if r := ask(s, "GET", "/v1/status"); r.StatusCode != 500 {
		t.Errorf("status %d after a panic", r.StatusCode)
	}
	s = newServer(t, Config{Catalog: newCatalog(), Status: func() any { return func() {} }})
	if r := ask(s, "GET", "/v1/status"); r.StatusCode != 500 {
		t.Errorf("status %d for what JSON cannot hold", r.StatusCode)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"bt.master", "ftp://a", "http://", "http://a b/", "http://u:p@a/", "http://a/?x", "http://a/#x", "http://a_b..c/", "http://a:0/"} {
		if _, err := New(Config{Catalog: newCatalog(), PublicURL: u}); err == nil {
			t.Errorf("public URL %q taken", u)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no catalog taken")
	}
}

// FuzzPath asks for any path with any Host: nothing panics and nothing but
// what the release has is sent.
func FuzzPath(f *testing.F) {
	c := newCatalog()
	rel, _ := c.iso(f, 100)
	c.point("web", 1)
	s := newServer(f, Config{Catalog: c})
	for _, p := range []string{"/", "/" + rel.Manifest.Name, "/releases/" + rel.ID + "/content/../../x", "/releases/" + rel.ID + "/SHA256SUMS", "/channels/web/latest.json", "/a\x00b", "/%2e"} {
		f.Add(p, "host:80")
	}
	f.Add("/"+rel.Manifest.Name+".torrent", "[::1]:x")
	f.Fuzz(func(t *testing.T, path, host string) {
		if path == "/v1/events" || path == "*" {
			return
		}
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path}, Host: host, Header: http.Header{}, RemoteAddr: "192.0.2.1:1"}
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Errorf("%q: %d %s", path, rec.Code, rec.Body)
		}
	})
}
