package serve

import (
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/pkg/torrentfile"
)

// maxStored bounds a stored torrent or metalink, in bytes.
const maxStored = torrentfile.MaxSize

type madeKey struct{ id, file, base string }

// maker makes a stored torrent or metalink into the one for a server with the
// address base.
type maker func(s *Server, rel *Release, base string, stored []byte) ([]byte, error)

// serveMade sends a torrent or metalink with this node's addresses in it. The
// bytes depend on nothing but the release and the address, so they are as
// immutable as the rest of the release.
func (s *Server) serveMade(w *response, r *http.Request, rel *Release, file, ctype string, mk maker) {
	if ctype == typeTorrent {
		w.route = routeTorrent
	}
	base := s.baseURL(r)
	if base == "" {
		s.serveStored(w, r, rel, file, ctype)
		return
	}
	key := madeKey{rel.ID, file, base}
	d, ok := s.made.get(key)
	if !ok {
		var err error
		if d, err = s.make(rel, key, mk); err != nil {
			s.failErr(w, r, err, "this node does not have the file")
			return
		}
	}
	sendBytes(w, r, d, ctype, rel.Manifest.Created)
}

// make makes a document once for all who ask at the same time, and few of them
// at once: each may need several times its size in memory.
func (s *Server) make(rel *Release, key madeKey, mk maker) (*document, error) {
	v, err, _ := s.making.Do(key.id+"/"+key.file+" "+key.base, func() (any, error) {
		s.makers <- struct{}{}
		defer func() { <-s.makers }()
		d, err := s.makeNow(rel, key, mk)
		if err != nil {
			return nil, err
		}
		s.made.put(key, d, int64(len(d.data))+512)
		return d, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*document), nil
}

func (s *Server) makeNow(rel *Release, key madeKey, mk maker) (*document, error) {
	f, err := s.openMeta(rel, key.file)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", rel.ID, err)
	}
	defer func() { _ = f.Close() }()
	stored, err := io.ReadAll(io.LimitReader(f, maxStored+1))
	if err != nil {
		return nil, fmt.Errorf("release %s: read %s: %w", rel.ID, key.file, err)
	}
	if len(stored) > maxStored {
		return nil, fmt.Errorf("release %s: %s is larger than %d bytes", rel.ID, key.file, maxStored)
	}
	b, err := mk(s, rel, key.base, stored)
	if err != nil {
		s.log.Error("serving a stored file without this node's addresses, because it cannot be read", zap.String("release", rel.ID), zap.String("file", key.file), zap.Error(err))
		b = stored
	}
	return newDocument(b), nil
}

// contentURL is where this server has the content: the file, or for a tree its
// folder with a slash at the end.
func contentURL(base string, rel *Release) string {
	u := base + "/releases/" + rel.ID + "/content/" + manifest.EscapePath(rel.Manifest.Name)
	if rel.Manifest.Kind == manifest.KindTree {
		u += "/"
	}
	return u
}

func torrentURL(base string, rel *Release) string {
	return base + "/releases/" + rel.ID + "/" + manifest.EscapePath(rel.Manifest.Name) + ".torrent"
}

func makeTorrent(s *Server, rel *Release, base string, stored []byte) ([]byte, error) {
	t, err := torrentfile.Parse(stored)
	if err != nil {
		return nil, err
	}
	if s.cfg.AnnounceURLs != nil {
		if tiers := s.cfg.AnnounceURLs(base); len(tiers) > 0 {
			t.Announce = tiers
		}
	}
	own := contentURL(base, rel)
	if rel.Manifest.Kind == manifest.KindTree {
		// BEP 19: the name and path are appended by the client.
		own = base + "/releases/" + rel.ID + "/content/"
	}
	switch {
	case s.cfg.LocalOnly:
		t.WebSeeds = []string{own}
	case !listed(t.WebSeeds, base):
		t.WebSeeds = append([]string{own}, t.WebSeeds...)
	}
	return t.Encode()
}

// listed says whether one of the URLs leads to the server at base: then the
// publisher has given it a place already.
func listed(urls []string, base string) bool {
	for _, u := range urls {
		if sameServer(u, base) {
			return true
		}
	}
	return false
}
