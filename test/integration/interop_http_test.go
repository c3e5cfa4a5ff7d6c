package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// curl runs curl against a server and returns the answer's status, header and body.
func curl(t *testing.T, args ...string) (code string, header http.Header, body []byte) {
	t.Helper()
	dir := t.TempDir()
	heads, out := filepath.Join(dir, "header"), filepath.Join(dir, "body")
	must(t, os.WriteFile(out, nil, 0o644))
	argv := append([]string{need(t, "curl"), "--silent", "--show-error", "--max-time", "20", "--dump-header", heads, "--output", out, "--write-out", "%{http_code}"}, args...)
	code, stderr, exit := run(t, argv...)
	if exit != 0 {
		t.Fatalf("curl %q: exit code %d: %s", args, exit, stderr)
	}
	b, err := os.ReadFile(heads)
	must(t, err)
	header = http.Header{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			header.Add(k, strings.TrimSpace(v))
		}
	}
	body, err = os.ReadFile(out)
	must(t, err)
	return code, header, body
}

// TestCurl asks a master as web clients do: whole, in ranges, conditionally.
func TestCurl(t *testing.T) {
	master := newMaster(t)
	path, data := payload(t, "site.bin", 1<<20+7)
	master.publish("web", path)
	sum := sha256.Sum256(data)
	etag := `"` + "sha256-" + hex.EncodeToString(sum[:]) + `"`
	digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	u := master.url() + "/site.bin"
	for _, tt := range []struct {
		name string
		args []string
		code string
		body []byte
		with map[string]string
	}{
		{"whole", nil, "200", data, map[string]string{"Etag": etag, "Digest": digest, "Accept-Ranges": "bytes"}},
		{"http/1.1", []string{"--http1.1"}, "200", data, map[string]string{"Etag": etag}},
		{"head", []string{"--head"}, "200", nil, map[string]string{"Etag": etag, "Digest": digest, "Content-Length": "1048583"}},
		{"range", []string{"--range", "100-299"}, "206", data[100:300], map[string]string{"Content-Range": "bytes 100-299/1048583", "Etag": etag}},
		{"open range", []string{"--range", "1048570-"}, "206", data[1048570:], map[string]string{"Content-Range": "bytes 1048570-1048582/1048583"}},
		{"suffix", []string{"--range", "-5"}, "206", data[len(data)-5:], nil},
		{"beyond the end", []string{"--range", "1048583-"}, "416", nil, map[string]string{"Content-Range": "bytes */1048583"}},
		{"if-range, same", []string{"--range", "0-9", "--header", "If-Range: " + etag}, "206", data[:10], nil},
		{"if-range, other", []string{"--range", "0-9", "--header", `If-Range: "other"`}, "200", data, nil},
		{"if-none-match, same", []string{"--header", "If-None-Match: " + etag}, "304", nil, map[string]string{"Etag": etag}},
		{"if-none-match, other", []string{"--header", `If-None-Match: "other"`}, "200", data, nil},
		{"head, if-none-match", []string{"--head", "--header", "If-None-Match: " + etag}, "304", nil, nil},
		{"post", []string{"--data", "x=1"}, "405", nil, map[string]string{"Allow": "GET, HEAD"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, header, body := curl(t, append([]string{"--cacert", master.ca(), u}, tt.args...)...)
			if code != tt.code {
				t.Errorf("status %s, want %s", code, tt.code)
			}
			if tt.name == "head" || tt.name == "head, if-none-match" {
				body = nil // curl writes the header there
			}
			if (code == "200" || code == "206") && !bytes.Equal(body, tt.body) {
				t.Errorf("%d bytes that are not the %d asked for", len(body), len(tt.body))
			}
			for k, v := range tt.with {
				if got := header.Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
	// The refusal is whole however it meets the body that is under way.
	t.Run("posts", func(t *testing.T) {
		for range 25 {
			if code, _, body := curl(t, "--cacert", master.ca(), u, "--data", "x=1"); code != "405" || len(body) == 0 {
				t.Fatalf("status %s, %q", code, body)
			}
		}
	})
	// An interrupted download goes on, as with curl -C.
	t.Run("resumed", func(t *testing.T) {
		half := filepath.Join(t.TempDir(), "site.bin")
		must(t, os.WriteFile(half, data[:400_000], 0o644))
		_, stderr, code := run(t, need(t, "curl"), "--silent", "--show-error", "--fail", "--cacert", master.ca(), "--continue-at", "-", "--output", half, u)
		if got, err := os.ReadFile(half); code != 0 || err != nil || !bytes.Equal(got, data) {
			t.Errorf("exit code %d, %v: %s", code, err, stderr)
		}
	})
	t.Run("another certificate", func(t *testing.T) {
		other, _ := makeCert(t, master.addr)
		if _, _, code := run(t, need(t, "curl"), "--silent", "--cacert", other, "--output", "/dev/null", u); code != 60 {
			t.Errorf("exit code %d, want 60", code)
		}
	})
}

// TestStockVerifiers has minisign and sha256sum check what a master serves.
func TestStockVerifiers(t *testing.T) {
	minisign, sha256sum := need(t, "minisign"), need(t, "sha256sum")
	master := newMaster(t)
	folder, _ := tree(t, "folder", 300_000, 0, 7, 20)
	p := master.publish("web", folder)
	web := trusting(t, master.ca())
	dir := t.TempDir()
	save := func(name, from string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, httpGet(t, web, master.url()+from), 0o644))
		return path
	}
	pub := save("publish.pub", "/publish.pub")
	for name, from := range map[string]string{"manifest.json": "/releases/" + p.ID + "/manifest.json", "latest.json": "/channels/web/latest.json"} {
		file := save(name, from)
		save(name+".minisig", from+".minisig")
		if out, stderr, code := run(t, minisign, "-V", "-p", pub, "-m", file); code != 0 {
			t.Errorf("minisign refuses %s: %s%s", name, out, stderr)
		}
		b, err := os.ReadFile(file)
		must(t, err)
		must(t, os.WriteFile(file, bytes.Replace(b, []byte("folder"), []byte("f0lder"), 1), 0o644))
		if _, _, code := run(t, minisign, "-V", "-p", pub, "-m", file); code == 0 {
			t.Errorf("minisign takes a changed %s", name)
		}
	}
	// The sums are of paths below content/, where they lie and where they are served.
	release := filepath.Join(master.dir, ".distd", "releases", p.ID)
	check := func(sums string) (string, int) {
		out, stderr, code := run(t, "sh", "-c", `cd "$1" && exec "$2" --strict -c "$3"`, "sh", filepath.Join(release, "content"), sha256sum, sums)
		return out + stderr, code
	}
	sums := save("SHA256SUMS", "/releases/"+p.ID+"/SHA256SUMS")
	if out, code := check(sums); code != 0 || strings.Count(out, ": OK") != 4 {
		t.Errorf("sha256sum: exit code %d\n%s", code, out)
	}
	b, err := os.ReadFile(sums)
	must(t, err)
	must(t, os.WriteFile(sums, bytes.Replace(b, b[:4], []byte("0000"), 1), 0o644))
	if out, code := check(sums); code == 0 {
		t.Errorf("sha256sum takes changed sums:\n%s", out)
	}
}
