package metainfo

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"distd/pkg/torrentfile"
)

// stock runs a program and returns what it prints. The test is skipped when it
// is not installed, but not where all tools have to be.
func stock(t *testing.T, name string, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(bin, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestMktorrent: at equal piece length, of a tree without the names that are
// left out and with all folders sorting like their files, mktorrent gives the
// same infohash.
func TestMktorrent(t *testing.T) {
	dir := fixture(t)
	write(t, dir+"/plain/d/x", pattern(1, 300_000))
	write(t, dir+"/plain/d/y/z", pattern(2, 10))
	write(t, dir+"/plain/e", pattern(3, 500_000))
	write(t, dir+"/plain/Ä", nil)
	link(t, "e", dir+"/plain/l")
	for _, source := range []string{"site.tar", "plain"} {
		for _, o := range []Options{{}, {Private: true}, {Source: "farm"}, {Private: true, Source: "farm", PieceLength: 1 << 15}} {
			o.Path = filepath.Join(dir, source)
			if o.PieceLength == 0 {
				o.PieceLength = 1 << 18
			}
			ours := create(t, o)
			power := 15
			for 1<<power < o.PieceLength {
				power++
			}
			file := filepath.Join(t.TempDir(), "x.torrent")
			args := []string{"-a", "http://x/announce", "-w", "http://w/", "-l", strconv.Itoa(power), "-o", file}
			if o.Private {
				args = append(args, "-p")
			}
			if o.Source != "" {
				args = append(args, "-s", o.Source)
			}
			stock(t, "mktorrent", append(args, o.Path)...)
			theirs, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := infohash(ours), hex.EncodeToString(theirs.InfoHash[:]); got != want {
				t.Errorf("%s, %+v: infohash %s, mktorrent's is %s\n%.300q\n%.300q", source, o, got, want, ours.InfoBytes, theirs.InfoBytes)
			}
			if theirs.Source != o.Source || theirs.Private != o.Private || len(theirs.WebSeeds) != 1 {
				t.Errorf("of mktorrent's torrent is read: %+v", Describe(theirs, false))
			}
			if c := verify(t, theirs, dir); !c.Good {
				t.Errorf("mktorrent's torrent of %s does not fit: %+v", source, c)
			}
		}
	}
}

// TestReaders lets other programs read a torrent with all there is.
func TestReaders(t *testing.T) {
	dir := fixture(t)
	m := create(t, Options{
		Path: dir + "/web", Announce: [][]string{{"http://a.example/announce", "udp://b.example:80"}, {"http://c.example/announce"}}, WebSeeds: []string{"http://w.example/"},
		Comment: "a comment", Private: true, Source: "farm", Created: time.Unix(1_700_000_000, 0),
	})
	file := filepath.Join(t.TempDir(), "web.torrent")
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, b)
	for _, c := range []struct {
		tool []string
		want []string
	}{
		{[]string{"transmission-show", file}, []string{"Name: web", "Hash: " + infohash(m), "Comment: a comment", "Piece Count: 17", "Piece Size: 32.00 KiB", "Privacy: Private torrent",
			"http://a.example/announce", "udp://b.example:80", "http://c.example/announce", "http://w.example/", "web/Größe/y", "web/linkdir/deep/two"}},
		{[]string{"aria2c", "-S", file}, []string{"Name: web", "Info Hash: " + infohash(m), "Comment: a comment", "Piece Length: 32KiB", "The Number of Pieces: 17",
			"http://a.example/announce udp://b.example:80", "http://c.example/announce", "http://w.example/", "./web/a/x"}},
	} {
		t.Run(c.tool[0], func(t *testing.T) {
			out := stock(t, c.tool[0], c.tool[1:]...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not print %q:\n%s", want, out)
				}
			}
		})
	}
	t.Run("libtorrent", func(t *testing.T) { readByLibtorrent(t, file, m.Torrent) })
}

// systemPython is the one that the distribution's libtorrent is for; another
// may stand before it in PATH.
const systemPython = "/usr/bin/python3"

func readByLibtorrent(t *testing.T, file string, tor *torrentfile.Torrent) {
	if exec.Command(systemPython, "-c", "import libtorrent").Run() != nil && os.Getenv("CI") != "true" {
		t.Skip("libtorrent is not installed")
	}
	const script = `import sys, libtorrent as lt
t = lt.torrent_info(sys.argv[1])
print(t.info_hash(), t.num_pieces(), t.piece_length(), t.total_size(), t.priv(), t.comment())
for a in sorted((a.tier, a.url) for a in t.trackers()): print(*a) # they are shuffled within a tier
for w in t.web_seeds(): print(w["url"])
f = t.files()
for i in range(f.num_files()): print(f.file_size(i), f.file_path(i))
`
	var want strings.Builder
	want.WriteString(hex.EncodeToString(tor.InfoHash[:]) + " 17 32768 " + strconv.FormatInt(tor.Layout.Total, 10) + " True a comment\n")
	want.WriteString("0 http://a.example/announce\n0 udp://b.example:80\n1 http://c.example/announce\nhttp://w.example/\n")
	for _, f := range tor.Layout.Files {
		want.WriteString(strconv.FormatInt(f.Length, 10) + " " + f.Path + "\n")
	}
	if got := stock(t, systemPython, "-c", script, file); got != want.String() {
		t.Errorf("it reads\n%s\nnot\n%s", got, want.String())
	}
}
