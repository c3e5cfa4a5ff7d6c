package publish

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"distd/pkg/torrentfile"
)

// missing skips the test, but not where all tools have to be installed.
func missing(t *testing.T, tool string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
}

// stock runs a program, if it is installed, and returns what it prints.
func stock(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath(name)
	if err != nil {
		missing(t, name)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// stockReleases publishes a file and a tree, and calls fn with each.
func stockReleases(t *testing.T, fn func(t *testing.T, b *bench, source string, res *Result)) {
	b := newBench(t)
	file := b.write("disk image.iso", noise(1, 3<<20+9))
	b.write("tree/a/x", noise(2, 100<<10))
	b.write("tree/a.b", noise(3, 1))
	b.write("tree/b/Größe/y", noise(4, 300<<10))
	b.write("tree/c", noise(5, 16<<10))
	for _, source := range []string{file, filepath.Join(b.src, "tree")} {
		t.Run(filepath.Base(source), func(t *testing.T) {
			fn(t, b, source, b.publish(Options{Path: source, Channel: "c" + strconv.Itoa(len(source))}))
		})
	}
}

// TestMktorrent makes a torrent of the same source with another tool: both
// must have the same infohash.
func TestMktorrent(t *testing.T) {
	stockReleases(t, func(t *testing.T, _ *bench, source string, res *Result) {
		out := filepath.Join(t.TempDir(), "x.torrent")
		power := 0
		for n := res.PieceLength; n > 1; n /= 2 {
			power++
		}
		if power < 15 {
			power = 15 // the least that it takes
		}
		stock(t, filepath.Dir(source), "mktorrent", "-l", strconv.Itoa(power), "-a", "http://x/announce", "-o", out, filepath.Base(source))
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := torrentfile.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t)
		ours := b.publish(Options{Path: source, PieceLength: theirs.Layout.PieceLength})
		if got := hex.EncodeToString(theirs.InfoHash[:]); got != ours.InfoHash {
			t.Errorf("mktorrent: %s %q, distd: %s", got, theirs.InfoBytes[:200], ours.InfoHash)
		}
	})
}

// systemPython is the one that the distribution's libtorrent is for; another
// may stand before it in PATH.
const systemPython = "/usr/bin/python3"

// TestReaders lets libtorrent, transmission and aria2 read the torrents.
func TestReaders(t *testing.T) {
	for _, tool := range [][]string{
		{"transmission-show"}, {"aria2c", "-S"},
		{systemPython, "-c", "import sys, libtorrent as lt; print(lt.torrent_info(sys.argv[1]).info_hash())"},
	} {
		t.Run(filepath.Base(tool[0]), func(t *testing.T) {
			if tool[0] == systemPython && exec.Command(systemPython, "-c", "import libtorrent").Run() != nil {
				missing(t, "libtorrent")
			}
			stockReleases(t, func(t *testing.T, _ *bench, _ string, res *Result) {
				file := filepath.Join(res.Dir, res.Name+".torrent")
				if out := stock(t, "", tool[0], append(tool[1:], file)...); !strings.Contains(out, res.InfoHash) {
					t.Errorf("%s prints %q, without the infohash %s", tool[0], out, res.InfoHash)
				}
			})
		})
	}
}

// TestSha256sum lets the stock tool check the release.
func TestSha256sum(t *testing.T) {
	stockReleases(t, func(t *testing.T, _ *bench, _ string, res *Result) {
		stock(t, filepath.Join(res.Dir, "content"), "sha256sum", "--strict", "-c", "../SHA256SUMS")
	})
}

// TestMinisign lets the stock tool check manifest and pointer.
func TestMinisign(t *testing.T) {
	stockReleases(t, func(t *testing.T, b *bench, _ string, res *Result) {
		pub := b.key.Public().String()
		stock(t, res.Dir, "minisign", "-Vm", "manifest.json", "-P", pub)
		stock(t, filepath.Join(b.st.Dir(), ".distd/channels", res.Channel), "minisign", "-Vm", "latest.json", "-P", pub)
	})
}
