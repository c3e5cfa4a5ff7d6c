package serve

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"distd/internal/manifest"
)

// serveDelta answers /releases/ID/delta/BASE, a delta pack, and its torrent
// beside it; rest is what follows delta/.
func (s *Server) serveDelta(w *response, r *http.Request, rel *Release, rest string) {
	base, torrent := strings.CutSuffix(rest, ".torrent")
	d := rel.Manifest.Delta(base)
	if d == nil {
		w.fail(http.StatusNotFound, "the release has no delta pack for that base; its manifest lists those that it has")
		return
	}
	if !rel.Complete && !s.havePack(rel, base) {
		if rel.NoPack != nil && rel.NoPack(base) {
			// A leaf that waits for it need not.
			w.fail(http.StatusNotFound, "this node fetches the release without that delta pack")
			return
		}
		s.notYet(w, "this node is still fetching the release")
		return
	}
	file := "delta/" + rest
	if torrent {
		s.serveStored(w, r, rel, file, typeTorrent)
		return
	}
	if most, err := strconv.ParseInt(r.Header.Get(manifest.HeaderAtMost), 10, 64); err == nil && d.Size > most {
		w.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the delta pack has %d bytes", d.Size))
		return
	}
	f, err := s.openMeta(rel, file)
	if err == nil {
		info, serr := f.Stat()
		_ = f.Close() // it was only looked at
		if err = serr; err == nil && info.Size() != d.Size {
			err = fmt.Errorf("%s has %d bytes, the manifest says %d", filepath.Join(rel.Dir, file), info.Size(), d.Size)
		}
	}
	if err != nil {
		s.failErr(w, r, fmt.Errorf("release %s: %w", rel.ID, err), "this node does not have the delta pack")
		return
	}
	if s.cfg.Up != nil {
		w.limit(r.Context(), s.cfg.Up(rel.Manifest.Channel))
	}
	s.serveStored(w, r, rel, file, typeBytes)
}

// havePack says whether a pack of a release that is still fetched is whole: its
// torrent is made last.
func (s *Server) havePack(rel *Release, base string) bool {
	f, err := s.openMeta(rel, "delta/"+base+".torrent")
	if err != nil {
		return false
	}
	_ = f.Close() // it was only looked at
	return true
}
