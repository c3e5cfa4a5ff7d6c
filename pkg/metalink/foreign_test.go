package metalink

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests hold the package against programs that operators use. Where one
// is not installed its test is skipped, except in CI, where all must be there.

func needCommand(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed and CI=true: %v", name, err)
	}
	t.Skipf("%s is not installed: %v", name, err)
}

// documents writes d as both versions and returns their paths.
func documents(t *testing.T, d *Document) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, text := range map[string]string{"f.metalink": v3(t, d), "f.meta4": v4(t, d)} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// The sed of old pipelines finds nothing to change in what we write, where it
// would append ".torrent" to what the `metalink` program writes.
func TestOldSedChangesNothing(t *testing.T) {
	needCommand(t, "sed")
	sed := func(in string) string {
		cmd := exec.CommandContext(t.Context(), "sed", `s/<url preference="100" location="internal" type="bittorrent">\(.*\)<\/url>/<url preference="100" location="internal" type="bittorrent">\1.torrent<\/url>/g`)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const theirs = `<url preference="100" location="internal" type="bittorrent">http://bt.master/a.iso</url>`
	if got := sed(theirs); !strings.Contains(got, "a.iso.torrent") {
		t.Fatalf("the sed is not the one that it should be: %s", got)
	}
	ours := v3(t, iso())
	if got := sed(ours); got != ours {
		t.Errorf("changed by sed:\n%s", got)
	}
}

// aria2Show has aria2c show the files of a document.
func aria2Show(t *testing.T, path string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "aria2c", "--no-conf", "-S", path).CombinedOutput()
	return string(out), err
}

// aria2c shows the files that we have put in. (It shows "&" in a name as
// "&#38;", however it is written.)
func TestAria2Shows(t *testing.T) {
	needCommand(t, "aria2c")
	d := iso()
	d.Files = append(d.Files, File{Name: "dir/ß <b>.txt", Size: 12_345, URLs: []URL{{URL: "http://a/b"}}})
	for _, path := range documents(t, d) {
		out, err := aria2Show(t, path)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"a.iso", "(300,000)", "dir/ß <b>.txt", "(12,345)"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: aria2c does not show %q:\n%s", path, want, out)
			}
		}
	}
}

// aria2c downloads by our documents, and finds what does not match them.
func TestAria2Downloads(t *testing.T) {
	needCommand(t, "aria2c")
	content := bytes.Repeat([]byte("0123456789abcde\n"), 20_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "f.bin", time.Unix(1, 0), bytes.NewReader(content))
	}))
	defer server.Close()

	f := File{
		Name: "f.bin", Size: int64(len(content)), Hashes: map[string]string{"sha-256": fmt.Sprintf("%x", sha256.Sum256(content))},
		Pieces: &Pieces{Type: "sha-1", Length: 1 << 18},
		URLs:   []URL{{URL: server.URL + "/f.bin", Priority: 1, Location: "external"}},
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1<<18)
		f.Pieces.Hashes = append(f.Pieces.Hashes, fmt.Sprintf("%x", sha1.Sum(rest[:n])))
		rest = rest[n:]
	}
	wrong := f
	wrong.Pieces = nil
	wrong.Hashes = map[string]string{"sha-256": sha256Hex}
	for _, c := range []struct {
		file File
		ok   bool
	}{{f, true}, {wrong, false}} {
		for _, path := range documents(t, &Document{Files: []File{c.file}}) {
			dir := t.TempDir()
			out, err := exec.CommandContext(t.Context(), "aria2c", "--no-conf", "-V", "--max-tries=2", "-d", dir, path).CombinedOutput()
			if !c.ok {
				if err == nil {
					t.Errorf("%s: aria2c takes a file with another hash:\n%s", path, out)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", path, err, out)
				continue
			}
			if got, err := os.ReadFile(filepath.Join(dir, "f.bin")); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes differ from the content (%v)", path, len(got), err)
			}
		}
	}
}
