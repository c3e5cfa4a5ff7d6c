package metainfo

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern returns n bytes that depend on the seed. The infohashes in the tests
// were made with the same formula elsewhere.
func pattern(seed uint32, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = (seed*1103515245 + 12345) & 0x7fffffff
		b[i] = byte(seed >> 16)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// fixture is a folder with files of all kinds: some that belong into a torrent,
// and some that btmakemetafile left out.
func fixture(t testing.TB) string {
	dir := t.TempDir()
	for path, b := range map[string][]byte{
		"site.tar": pattern(1, 5<<20), "empty.bin": nil,
		"web/a/x": pattern(2, 100000), "web/a.b": pattern(3, 1), "web/a-b/z": pattern(4, 70000),
		"web/core": []byte("core"), "web/CVS/Entries": []byte("x"), "web/.git/HEAD": []byte("x"),
		"web/Größe/y": pattern(5, 300000), "web/empty": nil, "web/b": pattern(6, 32768),
		"web/Core": pattern(7, 10), "web/d/core2": pattern(8, 11), "web/d/.hidden": []byte("x"),
		"elsewhere/one": pattern(9, 40000), "elsewhere/deep/two": pattern(10, 5),
	} {
		write(t, dir+"/"+path, b)
	}
	link(t, "../elsewhere", dir+"/web/linkdir")
	link(t, "a.b", dir+"/web/linkfile")
	link(t, "web", dir+"/alias")
	return dir
}

func create(t testing.TB, o Options) *Made {
	t.Helper()
	m, err := Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func infohash(m *Made) string { return hex.EncodeToString(m.InfoHash[:]) }
