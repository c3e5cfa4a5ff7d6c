package torrentfile

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/internal/layout"
)

// These tests hold the package against programs that operators use. Where one
// is not installed its test is skipped, except in CI, where all must be there.

func run(t *testing.T, stdin string, command string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", command, args, err, out.String(), errs.String())
	}
	return out.String()
}

func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not usable and CI=true: %v", what, err)
	}
	t.Skipf("%s is not usable: %v", what, err)
}

func needCommand(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, name, err)
	}
}

func needLibtorrent(t *testing.T) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), python, "-c", "import libtorrent").Run(); err != nil {
		missing(t, "libtorrent for "+python, err)
	}
}

const python = "/usr/bin/python3"

// content makes a release of a single file and one of a tree below a new
// folder, and returns the folder and the layout of each.
func content(t *testing.T) (dir string, layouts map[string]*layout.Layout) {
	t.Helper()
	dir = t.TempDir()
	rnd := rand.NewChaCha8([32]byte{1})
	layouts = map[string]*layout.Layout{}
	for name, files := range map[string][]layout.File{
		"iso": {{Path: "iso", Length: 300_001}},
		"web": {
			{Path: "web/Empty"}, {Path: "web/a b/index.html", Length: 40_000}, {Path: "web/css/x.css", Length: 32768},
			{Path: "web/css/zero"}, {Path: "web/grüße.txt", Length: 1}, {Path: "web/z", Length: 99_999},
		},
	} {
		for _, f := range files {
			p := filepath.Join(dir, filepath.FromSlash(f.Path))
			b := make([]byte, f.Length)
			if _, err := rnd.Read(b); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		layouts[name] = newLayout(t, 32768, files...)
	}
	return dir, layouts
}

// hashContent returns the SHA-1 of each piece of the files below dir.
func hashContent(t *testing.T, dir string, l *layout.Layout) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, f := range l.Files {
		r, err := os.Open(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	var pieces []byte
	for all.Len() > 0 {
		h := sha1.Sum(all.Next(int(l.PieceLength)))
		pieces = append(pieces, h[:]...)
	}
	return pieces
}

func makeTorrent(t *testing.T, dir, name string, l *layout.Layout) (*Torrent, string) {
	t.Helper()
	tr, err := Create(name, name == "web", l, hashContent(t, dir, l))
	if err != nil {
		t.Fatal(err)
	}
	tr.Announce = [][]string{{"http://bt.local.dc:6969/announce"}, {"udp://bt2.local.dc:6969", "http://bt3.local.dc/announce"}}
	tr.WebSeeds = []string{"https://bt.master/content/"}
	tr.Comment, tr.CreatedBy = "a comment", "distd"
	b, err := tr.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".torrent")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return tr, path
}

// The same content gives the same infohash as with mktorrent, and its torrents
// are understood.
func TestMktorrent(t *testing.T) {
	needCommand(t, "mktorrent")
	dir, layouts := content(t)
	for name := range layouts {
		out := filepath.Join(t.TempDir(), "out.torrent")
		run(t, "", "mktorrent", "-l", "15", "-t", "1", "-a", "http://bt/announce", "-a", "udp://bt:1", "-w", "http://w/x", "-c", "hi", "-o", out, filepath.Join(dir, name))
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Create(name, name == "web", theirs.Layout, hashContent(t, dir, theirs.Layout))
		if err != nil {
			t.Fatal(err)
		}
		if ours.InfoHash != theirs.InfoHash {
			t.Errorf("%s: infohash %x, mktorrent's is %x:\n%q\n%q", name, ours.InfoHash, theirs.InfoHash, ours.InfoBytes, theirs.InfoBytes)
		}
		if d := cmp.Diff([][]string{{"http://bt/announce"}, {"udp://bt:1"}}, theirs.Announce); d != "" {
			t.Errorf("trackers (-want +got):\n%s", d)
		}
		if !slices.Equal(theirs.WebSeeds, []string{"http://w/x"}) || theirs.Comment != "hi" || theirs.Created.IsZero() {
			t.Errorf("%s: %q %q %v", name, theirs.WebSeeds, theirs.Comment, theirs.Created)
		}
	}
}

type seen struct {
	Hash     string
	Files    []layout.File
	Trackers [][]any // tier, URL
	Seeds    []string
	Pieces   int
}

const readScript = `
import json, sys, libtorrent as lt
ti = lt.torrent_info(sys.argv[1])
fs = ti.files()
print(json.dumps({
    "hash": str(ti.info_hashes().v1),
    "files": [{"Path": fs.file_path(i), "Length": fs.file_size(i)} for i in range(fs.num_files())],
    "trackers": sorted([t.tier, t.url] for t in ti.trackers()),
    "seeds": [w["url"] for w in ti.web_seeds()],
    "pieces": ti.num_pieces(),
}))`

// libtorrent reads in our torrents what we have put into them.
func TestLibtorrentReads(t *testing.T) {
	needLibtorrent(t)
	dir, layouts := content(t)
	for name, l := range layouts {
		tr, path := makeTorrent(t, dir, name, l)
		var got seen
		if err := json.Unmarshal([]byte(run(t, readScript, python, "-", path)), &got); err != nil {
			t.Fatal(err)
		}
		want := seen{
			Hash: fmt.Sprintf("%x", tr.InfoHash), Files: l.Files, Pieces: l.NumPieces(),
			// libtorrent shuffles each tier, the script sorts them.
			Trackers: [][]any{{0.0, tr.Announce[0][0]}, {1.0, tr.Announce[1][1]}, {1.0, tr.Announce[1][0]}},
			Seeds:    tr.WebSeeds,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: libtorrent sees (-want +got):\n%s", name, d)
		}
	}
}

const makeScript = `
import sys, libtorrent as lt
flags = {"v1": lt.create_torrent.v1_only, "hybrid": 0, "v2": lt.create_torrent.v2_only}[sys.argv[1]]
fs = lt.file_storage()
lt.add_files(fs, sys.argv[2] + "/" + sys.argv[3])
t = lt.create_torrent(fs, 32768, flags)
lt.set_piece_hashes(t, sys.argv[2])
out = t.generate()
open(sys.argv[4], "wb").write(lt.bencode(out))
print(lt.torrent_info(out).info_hashes().v1)`

// libtorrent's torrents are understood: v1 gives the infohash that we give,
// the v1 part of a hybrid is read with its padding, v2 is refused.
func TestLibtorrentMakes(t *testing.T) {
	needLibtorrent(t)
	dir, layouts := content(t)
	for name := range layouts {
		for _, kind := range []string{"v1", "hybrid", "v2"} {
			out := filepath.Join(t.TempDir(), "t.torrent")
			hash := strings.TrimSpace(run(t, makeScript, python, "-", kind, dir, name, out))
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := Parse(b)
			if kind == "v2" {
				if err == nil || !strings.Contains(err.Error(), "v2 only") {
					t.Errorf("%s %s: error %v", name, kind, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", name, kind, err)
				continue
			}
			if got := fmt.Sprintf("%x", theirs.InfoHash); got != hash {
				t.Errorf("%s %s: infohash %s, libtorrent's is %s", name, kind, got, hash)
			}
			if pads := theirs.Padding != nil; pads != (kind == "hybrid" && name == "web") {
				t.Errorf("%s %s: padding %v", name, kind, theirs.Padding)
			}
			if kind != "v1" {
				continue
			}
			ours, err := Create(name, name == "web", theirs.Layout, hashContent(t, dir, theirs.Layout))
			if err != nil {
				t.Fatal(err)
			}
			if ours.InfoHash != theirs.InfoHash {
				t.Errorf("%s: infohash differs:\n%q\n%q", name, ours.InfoBytes, theirs.InfoBytes)
			}
		}
	}
}

// aria2c shows in our torrents what we have put into them.
func TestAria2Reads(t *testing.T) {
	needCommand(t, "aria2c")
	dir, layouts := content(t)
	for name, l := range layouts {
		tr, path := makeTorrent(t, dir, name, l)
		out := run(t, "", "aria2c", "--no-conf", "-S", path)
		want := []string{fmt.Sprintf("Info Hash: %x", tr.InfoHash), fmt.Sprintf("The Number of Pieces: %d", l.NumPieces()), "Name: " + name, "Comment: a comment", tr.WebSeeds[0]}
		for i, f := range l.Files {
			want = append(want, fmt.Sprintf("%3d|./%s\n", i+1, f.Path))
		}
		for _, tier := range tr.Announce {
			want = append(want, tier...)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: aria2c does not show %q:\n%s", name, w, out)
			}
		}
	}
}
