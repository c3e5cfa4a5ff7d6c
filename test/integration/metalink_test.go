package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMetalinkForAll makes metalinks of files with all kinds of names, which
// aria2c shows and downloads, and so does distd, from a web server.
func TestMetalinkForAll(t *testing.T) {
	t.Parallel()
	p := newOldPipeline(t)
	p.nginx()
	files := map[string][]byte{oldFile: p.data}
	names := []string{oldFile}
	for _, name := range []string{"dir/a b.bin", "dir/R&D 100%.bin", "dir/sub/ü'\"#?;+.bin", "empty.bin"} {
		size := 700_000
		if name == "empty.bin" {
			size = 0
		}
		_, data := payload(t, "x", size)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(p.dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(p.dir, name), data, 0o644))
		files[name] = data
		names = append(names, name)
	}
	clients := map[string][]string{
		"aria2c": {need(t, "aria2c"), "--no-conf", "-V", "--max-tries=2", "--ca-certificate=" + p.cert, "--disable-ipv6", "-d"},
		"distd":  {bin, "fetch", "-ca=" + p.cert, "-listen=", "-seed-time=0", "-d"},
	}
	one := filepath.Join(p.dir, "one.metalink")
	describe := func(out string, args ...string) {
		t.Helper()
		argv := []string{"sh", "-c", `cd "$1" && printf 'external 100 %% %s' "$2" | { shift 2; exec "$@"; }`, "sh", p.dir, p.httpsURL(), bin, "metalink", "-o", out}
		if _, stderr, code := run(t, append(argv, args...)...); code != 0 || strings.Contains(stderr, "warning") {
			t.Fatalf("distd metalink: exit code %d\n%s", code, stderr)
		}
	}
	describe(one, "-d", "sha1pieces", oldFile)
	for _, version := range []string{"", "-v4"} {
		out := filepath.Join(t.TempDir(), "f"+map[string]string{"": ".metalink", "-v4": ".meta4"}[version])
		args := append([]string{"-d", "sha256,sha1pieces", "-d", "md5"}, names...)
		if version != "" {
			args = append(args, version)
		}
		describe(out, args...)
		t.Run("shown by aria2c"+version, func(t *testing.T) {
			stdout, stderr, code := run(t, need(t, "aria2c"), "--no-conf", "-S", out)
			if code != 0 {
				t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
			}
			for _, want := range []string{oldFile, "dir/a b.bin", "dir/sub/ü'", "(700,000)", "(3,145,728)"} {
				if !strings.Contains(stdout, want) {
					t.Errorf("aria2c does not show %q:\n%s", want, stdout)
				}
			}
		})
		for who, argv := range clients {
			t.Run("downloaded by "+who+version, func(t *testing.T) {
				dir := t.TempDir()
				stdout, stderr, code := run(t, append(argv, dir, out)...)
				if code != 0 {
					t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
				}
				for name, data := range files {
					if who == "aria2c" {
						name = strings.ReplaceAll(name, "&", "&#38;") // so it takes it, however it is written
					}
					awaitFile(t, time.Second, filepath.Join(dir, name), data)
				}
			})
		}
	}
	// What is served is not what was described any more.
	broken := slices.Clone(p.data)
	broken[2<<20] ^= 1
	must(t, os.WriteFile(filepath.Join(p.dir, oldFile), broken, 0o644))
	for who, argv := range clients {
		t.Run("refused by "+who, func(t *testing.T) {
			dir := t.TempDir()
			stdout, stderr, code := run(t, append(argv, dir, one)...)
			if code <= 0 || who == "distd" && !strings.Contains(stderr, "did not verify") {
				t.Errorf("a changed file is not refused: exit code %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}
