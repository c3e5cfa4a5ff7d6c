package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/node"
)

// TestFetchRefusals has `distd fetch` get documents and content from a server
// that lies: it ends with a reason, and puts nothing under a final name.
func TestFetchRefusals(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	path, data := payload(t, "site.tar", released)
	rel := f.publish("web", path)
	for _, ext := range []string{"torrent", "meta4"} {
		f.answer("/endless."+ext, endless)
		f.answer("/away."+ext, http.RedirectHandler("http://127.9.9.9:1/x", http.StatusFound).ServeHTTP)
	}
	f.set("/page.torrent", []byte("<html>404</html>"))
	f.set("/millions.torrent", millionsOfFiles())
	f.set("/site.tar", data)
	f.set("/wrong.tar", make([]byte, len(data)))
	for _, bad := range []string{"200", "302"} {
		f.answer("/"+bad+".tar", func(w http.ResponseWriter, r *http.Request) {
			if bad == "302" {
				http.Redirect(w, r, "http://127.9.9.9:1/x", http.StatusFound)
				return
			}
			r.Header.Del("Range")
			serveBytes(w, r, data)
		})
	}
	// A metalink with the release's hashes and one mirror.
	metalink := func(name, mirror string) string {
		text := string(f.get(rel.base + "/site.tar.meta4"))
		head, rest, ok := strings.Cut(text, "</file>")
		if !ok {
			t.Fatalf("no file in the metalink:\n%s", text)
		}
		file := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(file, []byte(head+"<url>"+f.URL+mirror+"</url></file>"+rest), 0o644))
		return file
	}
	for _, c := range []struct {
		input string
		code  int
		want  string
	}{
		{f.URL + "/endless.torrent", node.ExProtocol, "more than"},
		{f.URL + "/endless.meta4", node.ExProtocol, "more than"},
		{f.URL + "/away.torrent", node.ExProtocol, "redirect to another host refused"},
		{f.URL + "/missing.torrent", node.ExNoInput, "404"},
		{f.URL + "/missing.tar", node.ExNoInput, "404"},
		{f.URL + "/page.torrent", node.ExDataErr, "neither a torrent nor a metalink"},
		{f.URL + "/millions.torrent", node.ExDataErr, "more than the limit of"},
		{metalink("wrong.meta4", "/wrong.tar"), node.ExDataErr, "did not verify"},
		{metalink("200.meta4", "/200.tar"), node.ExProtocol, "200"},
		{metalink("302.meta4", "/302.tar"), node.ExProtocol, "redirect to another host refused"},
	} {
		dir := t.TempDir()
		_, stderr, code := run(t, bin, "fetch", "-d", dir, "-listen=", "-seed-time=0", c.input)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("fetch %s: exit code %d, says %q; want %d and %q", c.input, code, stderr, c.code, c.want)
		}
		if _, err := os.Lstat(filepath.Join(dir, "site.tar")); err == nil {
			t.Errorf("fetch %s left a file under the final name", c.input)
		}
	}
	dir := t.TempDir()
	if _, stderr, code := run(t, bin, "fetch", "-d", dir, "-listen=", "-seed-time=0", metalink("good.meta4", "/site.tar")); code != 0 {
		t.Errorf("fetch from a good mirror: exit code %d, says %q", code, stderr)
	}
	awaitFile(t, 0, filepath.Join(dir, "site.tar"), data)
	expectEntries(t, dir, "site.tar")
}
