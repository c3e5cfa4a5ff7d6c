package node

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/metainfo"
)

// torrentOf makes a torrent of what lies at path, with a web seed that has it.
func torrentOf(t *testing.T, path string) string {
	t.Helper()
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	t.Cleanup(srv.Close)
	made, err := metainfo.Create(t.Context(), metainfo.Options{Path: path, WebSeeds: []string{srv.URL + "/"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := made.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "t.torrent")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A folder that is there keeps what the torrent does not name, also where the run
// that replaced it was killed before it had brought all back.
func TestTreeKeepsOtherFiles(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	writeFiles(t, src, map[string]string{"www/a.html": strings.Repeat("new", 20_000), "www/sub/b.html": "b"})
	in := torrentOf(t, filepath.Join(src, "www"))
	writeFiles(t, dir, map[string]string{"www/a.html": "old", "www/mine.txt": "mine", "www/sub/mine.txt": "too", "www/own/mine.txt": "three"})
	if err := fetchInto(t, dir, nil, in); ExitCode(err) != ExCantCreat || !strings.Contains(err.Error(), "www/a.html is there already") {
		t.Errorf("over a file that is another: %v, exit code %d", err, ExitCode(err))
	}
	wantFile(t, "refused", filepath.Join(dir, "www", "a.html"), "old")
	if err := fetchInto(t, dir, func(o *FetchOptions) { o.Check = true }, in); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a.html": strings.Repeat("new", 20_000), "sub/b.html": "b", "mine.txt": "mine", "sub/mine.txt": "too", "own/mine.txt": "three"}
	for name, content := range want {
		wantFile(t, "replaced", filepath.Join(dir, "www", filepath.FromSlash(name)), content)
	}
	if _, err := os.Lstat(filepath.Join(dir, stagingFolder)); err == nil {
		t.Error("the folder of unfinished downloads is still there")
	}
	d := &download{fetch: &fetch{o: FetchOptions{Dir: dir}}, target: &target{name: "www", key: "k"}}
	if err := os.Remove(filepath.Join(dir, "www", "mine.txt")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, d.aside(), map[string]string{"a.html": "old", "mine.txt": "mine"})
	if err := d.keepOthers(); err != nil {
		t.Fatal(err)
	}
	for name, content := range want {
		wantFile(t, "after a kill", filepath.Join(dir, "www", filepath.FromSlash(name)), content)
	}
}

// A file that shares nothing with the torrent is replaced only on demand, and a
// folder in the place of a file never.
func TestTorrentInTheWay(t *testing.T) {
	content := strings.Repeat("some content ", 10_000)
	src, dir := t.TempDir(), t.TempDir()
	writeFiles(t, src, map[string]string{"f.bin": content})
	in := torrentOf(t, filepath.Join(src, "f.bin"))
	file := filepath.Join(dir, "f.bin")
	for i, o := range []FetchOptions{{Check: true}, {Overwrite: true}} {
		another := []string{"another", strings.Repeat("?", len(content))}[i]
		writeFiles(t, dir, map[string]string{"f.bin": another})
		if err := fetchInto(t, dir, nil, in); ExitCode(err) != ExCantCreat || !strings.Contains(err.Error(), "-allow-overwrite") {
			t.Errorf("without a flag: %v, exit code %d", err, ExitCode(err))
		}
		wantFile(t, "without a flag", file, another)
		if err := fetchInto(t, dir, func(to *FetchOptions) { to.Check, to.Overwrite = o.Check, o.Overwrite }, in); err != nil {
			t.Error(err)
		}
		wantFile(t, "on demand", file, content)
	}
	writeFiles(t, dir, map[string]string{"f.bin": content[:100_000] + strings.Repeat("!", len(content)-100_000)})
	if err := fetchInto(t, dir, nil, in); err != nil {
		t.Errorf("over a version that has something in common: %v", err)
	}
	wantFile(t, "an earlier version", file, content)

	dir = t.TempDir()
	writeFiles(t, dir, map[string]string{"f.bin/mine.txt": "mine"})
	err := fetchInto(t, dir, func(o *FetchOptions) { o.Check, o.Overwrite = true, true }, in)
	if ExitCode(err) != ExCantCreat || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("over a folder: %v, exit code %d", err, ExitCode(err))
	}
	wantFile(t, "a folder", filepath.Join(dir, "f.bin", "mine.txt"), "mine")
	if _, err := os.Lstat(filepath.Join(dir, stagingFolder)); err == nil {
		t.Errorf("something is left of it: %v", fs.ErrExist)
	}
}

// Without a hash the size alone says whether a file is whole, and only on demand.
func TestContinueTrustsTheSize(t *testing.T) {
	content := strings.Repeat("some content ", 1000)
	srv, _ := fileServer(t, content, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "f.bin")
	trusting := func(o *FetchOptions) { o.Continue = true }
	same := strings.Repeat("?", len(content))
	writeFiles(t, dir, map[string]string{"f.bin": same})
	if err := fetchInto(t, dir, nil, srv+"/f.bin"); ExitCode(err) != ExCantCreat || !strings.Contains(err.Error(), "-c takes it for whole") {
		t.Errorf("without -c: %v, exit code %d", err, ExitCode(err))
	}
	if err := fetchInto(t, dir, trusting, srv+"/f.bin"); err != nil {
		t.Error(err)
	}
	wantFile(t, "of the right size", file, same)
	sum := sha256.Sum256([]byte(content))
	hashed := func(o *FetchOptions) {
		o.Continue, o.Checksum = true, map[string]string{"sha-256": hex.EncodeToString(sum[:])}
	}
	if err := fetchInto(t, dir, hashed, srv+"/f.bin"); ExitCode(err) != ExCantCreat {
		t.Errorf("with a wrong hash: %v, exit code %d", err, ExitCode(err))
	}
	writeFiles(t, dir, map[string]string{"f.bin": content[:100]})
	if err := fetchInto(t, dir, trusting, srv+"/f.bin"); ExitCode(err) != ExCantCreat {
		t.Errorf("of another size: %v, exit code %d", err, ExitCode(err))
	}
	wantFile(t, "refused", file, content[:100])
}
