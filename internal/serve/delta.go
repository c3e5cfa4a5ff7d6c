package serve

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
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
	if !rel.Complete {
		s.notYet(w, "this node is still fetching the release")
		return
	}
	file := "delta/" + rest
	if torrent {
		s.serveStored(w, r, rel, file, typeTorrent)
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
