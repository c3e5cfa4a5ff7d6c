package serve

import (
	"net/http"
	"path"
	"strings"

	"distd/internal/manifest"
	"distd/internal/names"
)

// serveRelease answers /releases/ID/...; rest begins with the ID.
func (s *Server) serveRelease(w *response, r *http.Request, rest string) {
	w.route = routeRelease
	id, file, ok := strings.Cut(rest, "/")
	if !ok || !manifest.ValidID(id) {
		w.fail(http.StatusNotFound, "a release is /releases/ID/..., with the ID of 64 hex digits from a channel's latest.json")
		return
	}
	rel, err := s.cfg.Catalog.Release(id)
	if err != nil {
		s.failErr(w, r, err, "this node does not have the release")
		return
	}
	w.Header().Set("Cache-Control", cacheForever)
	if path, ok := strings.CutPrefix(file, "content/"); ok {
		s.serveContent(w, r, rel, path)
		return
	}
	if base, ok := strings.CutPrefix(file, "delta/"); ok {
		s.serveDelta(w, r, rel, base)
		return
	}
	s.serveMeta(w, r, rel, file)
}

// serveMeta answers for the files beside content/.
func (s *Server) serveMeta(w *response, r *http.Request, rel *Release, file string) {
	if suffix, ok := strings.CutPrefix(file, rel.Manifest.Name); ok && kinds[suffix] != nil {
		s.serveMade(w, r, rel, suffix)
		return
	}
	if doc, base, ok := manifest.ParseShort(file); ok {
		s.serveShort(w, r, rel, doc, base)
		return
	}
	switch file {
	case "manifest.json":
		s.serveStored(w, r, rel, file, typeJSON)
	case "manifest.json.minisig", "SHA256SUMS":
		s.serveStored(w, r, rel, file, typeText)
	case manifest.ItemFile:
		s.serveStored(w, r, rel, file, typeBytes)
	default:
		w.fail(http.StatusNotFound, "no such file in the release; there are manifest.json, manifest.json.minisig, manifest.json.zst, info.zst, item.bep44, SHA256SUMS, content/, delta/ and the torrent, magnet link and metalinks")
	}
}

// servePlain answers for the plain names: the newest release called NAME, its
// torrent, magnet link and metalinks, and the files of a tree below /NAME/.
func (s *Server) servePlain(w *response, r *http.Request, rest string) {
	w.Header().Set("Cache-Control", cacheCheck)
	name, inside, deep := strings.Cut(rest, "/")
	if names.ReleaseName(name) != nil {
		w.fail(http.StatusNotFound, "nothing is served here")
		return
	}
	rel, err := s.cfg.Catalog.Named(name)
	if err == nil {
		s.serveNamed(w, r, rel, inside, deep)
		return
	}
	if !deep {
		suffix := path.Ext(name)
		if base := strings.TrimSuffix(name, suffix); base != "" && kinds[suffix] != nil {
			if rel, err = s.cfg.Catalog.Named(base); err == nil {
				w.route = routeRelease
				s.serveMeta(w, r, rel, name)
				return
			}
		}
	}
	s.failErr(w, r, err, "this node has no release of that name")
}

func (s *Server) serveNamed(w *response, r *http.Request, rel *Release, inside string, deep bool) {
	m := rel.Manifest
	if m.Kind == manifest.KindTree && inside == "" {
		w.route = routeContent
		w.fail(http.StatusNotFound, "this release is a tree and folders are not listed: ask for a file of it, or for the torrent, magnet link or metalink beside it")
		return
	}
	path := m.Name
	if deep {
		path += "/" + inside
	}
	s.serveContent(w, r, rel, path)
}

// serveContent sends a file of the release; path is below content/.
func (s *Server) serveContent(w *response, r *http.Request, rel *Release, path string) {
	w.route = routeContent
	f, why := findFile(rel.Manifest, path)
	if f == nil {
		w.fail(http.StatusNotFound, why)
		return
	}
	if !rel.Complete {
		s.notYet(w, "this node is still fetching the release")
		return
	}
	s.sendFile(w, r, rel, f, path)
}

// findFile returns the file at the path below content/, or nil and why there
// is none. Nothing that the manifest does not list is ever opened.
func findFile(m *manifest.Manifest, path string) (f *manifest.File, why string) {
	if names.Path(strings.TrimSuffix(path, "/")) != nil {
		return nil, "this is not a path of a release"
	}
	if m.Kind == manifest.KindFile {
		if path == m.Name && len(m.Files) == 1 {
			return &m.Files[0], ""
		}
		return nil, "the release is a single file, which lies at content/NAME"
	}
	inside, ok := strings.CutPrefix(path, m.Name+"/")
	if !ok {
		return nil, "files of a tree lie at content/NAME/PATH; folders are not listed"
	}
	i, ok := search(m.Files, inside)
	switch {
	case !ok:
		return nil, "no such file in the release; folders are not listed"
	case m.Files[i].Symlink != "":
		return nil, "this is a symlink, to " + m.Files[i].Symlink
	}
	return &m.Files[i], ""
}
