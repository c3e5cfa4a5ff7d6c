package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestSelectFile fetches some files of a torrent from aria2c: only the pieces that
// they lie in come, the other files are not made, and what they share pieces with
// lies beside, so that the same again asks nobody for anything.
func TestSelectFile(t *testing.T) {
	t.Parallel()
	s := newShare(t, "some", nil, 1<<20, 70_001, 300_000, 5)
	at := host(t)
	startAria2(t, task{torrent: s.torrent, dir: s.dir, addr: at})
	magnet := "magnet:?xt=urn:btih:" + s.hash() + "&x.pe=" + at + ":6881"
	paths := func(n ...int) (out []string) {
		for _, i := range n {
			out = append(out, s.tor.Layout.Files[i].Path)
		}
		return out
	}
	pieces := func(n ...int) (bytes int64) {
		in := map[int]bool{}
		for _, i := range n {
			for p, last := s.tor.Layout.FilePieces(i); p < last; p++ {
				in[p] = true
			}
		}
		for p := range in {
			bytes += s.tor.Layout.PieceSize(p)
		}
		return bytes
	}
	dir := t.TempDir()
	get := func(what, selected string, came int64, more string) {
		t.Helper()
		args := fetchArgs(t, dir, "-bt-stop-timeout=60", magnet+more)
		if selected != "" {
			args = slices.Insert(args, 2, "-select-file="+selected)
		}
		if state := fetch(t, args...); state.FromPeers != came {
			t.Errorf("%s: %d bytes came from peers, want %d", what, state.FromPeers, came)
		}
	}
	have := func(want ...string) {
		t.Helper()
		for _, f := range s.tor.Layout.Files {
			file := filepath.Join(dir, filepath.FromSlash(f.Path))
			if slices.Contains(want, f.Path) {
				awaitFile(t, time.Second, file, s.files[f.Path])
			} else if _, err := os.Lstat(file); err == nil {
				t.Errorf("%s is there, though it was not selected", f.Path)
			}
		}
	}
	get("file 2", "2", pieces(1), "")
	have(paths(1)...)
	get("file 2 again", "2", 0, "")
	have(paths(1)...)
	get("the last two", "3-4", pieces(2, 3), "")
	have(paths(1, 2, 3)...)
	get("file 1, by the link", "", pieces(0), fmt.Sprint("&so=", 0))
	have(paths(0, 1, 2, 3)...)
	get("all", "", 0, "")
	have(paths(0, 1, 2, 3)...)
}
