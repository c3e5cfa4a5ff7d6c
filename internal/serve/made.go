package serve

import (
	"cmp"
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/pkg/torrentfile"
)

// maxStored bounds a stored document, in bytes.
const maxStored = torrentfile.MaxSize

// madeKey is a document for one base: the one with the suffix behind NAME, for
// an address of this server; or the one of that name, for a release.
type madeKey struct{ id, suffix, base string }

// maker makes a stored torrent or metalink into the document for a server with
// the address base.
type maker func(s *Server, rel *Release, base string, stored []byte) ([]byte, error)

// kind is a kind of document that is called like the release, with a suffix.
type kind struct {
	ctype string
	make  maker
	// from is the suffix of the stored file that it is made from, when there is
	// none of its own.
	from string
}

var kinds = map[string]*kind{
	".torrent":  {ctype: typeTorrent, make: makeTorrent},
	".magnet":   {ctype: typeText, make: makeMagnet, from: ".torrent"},
	".metalink": {ctype: typeMetalink, make: makeMetalink},
	".meta4":    {ctype: typeMeta4, make: makeMeta4},
}

// serveMade sends a document with this node's addresses in it. The bytes depend
// on nothing but the release and the address, so they are as immutable as the
// rest of the release.
func (s *Server) serveMade(w *response, r *http.Request, rel *Release, suffix string) {
	k := kinds[suffix]
	if k.ctype == typeTorrent {
		w.route = routeTorrent
	}
	base := s.baseURL(r)
	if base == "" && k.from == "" {
		s.serveStored(w, r, rel, rel.Manifest.Name+suffix, k.ctype)
		return
	}
	key := madeKey{rel.ID, suffix, base}
	d, err := s.document(key, func() ([]byte, error) { return s.makeNow(rel, key) })
	if err != nil {
		s.failErr(w, r, err, "this node does not have the file")
		return
	}
	sendBytes(w, r, d, k.ctype, rel.Manifest.Created)
}

// document has a document made once for all who ask at the same time, and few of
// them at once: each may need several times its size in memory.
func (s *Server) document(key madeKey, now func() ([]byte, error)) (*document, error) {
	if d, ok := s.made.get(key); ok {
		return d, nil
	}
	v, err, _ := s.making.Do(key.id+key.suffix+" "+key.base, func() (any, error) {
		s.makers <- struct{}{}
		defer func() { <-s.makers }()
		b, err := now()
		if err != nil {
			return nil, err
		}
		d := newDocument(b)
		s.made.put(key, d, int64(len(d.data))+512)
		return d, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*document), nil
}

func (s *Server) makeNow(rel *Release, key madeKey) ([]byte, error) {
	k := kinds[key.suffix]
	file := rel.Manifest.Name + cmp.Or(k.from, key.suffix)
	stored, err := s.readMeta(rel, file)
	if err != nil {
		return nil, err
	}
	b, err := k.make(s, rel, key.base, stored)
	if err != nil && k.from != "" {
		return nil, fmt.Errorf("release %s: %s: %w", rel.ID, file, err)
	}
	if err != nil {
		s.log.Error("serving a stored file without this node's addresses, because it cannot be read", zap.String("release", rel.ID), zap.String("file", file), zap.Error(err))
		b = stored
	}
	return b, nil
}

// readMeta reads a stored file beside the content.
func (s *Server) readMeta(rel *Release, file string) ([]byte, error) {
	f, err := s.openMeta(rel, file)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", rel.ID, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && info.Size() > maxStored {
		return nil, fmt.Errorf("release %s: %s is larger than %d bytes", rel.ID, file, maxStored)
	}
	var stored []byte
	if err == nil {
		stored = make([]byte, info.Size())
		_, err = io.ReadFull(f, stored)
	}
	if err != nil {
		return nil, fmt.Errorf("release %s: read %s: %w", rel.ID, file, err)
	}
	return stored, nil
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
	t, err := s.ownTorrent(rel, base, stored)
	if err != nil {
		return nil, err
	}
	return t.Encode()
}

// ownTorrent puts this server into a stored torrent: its tracker, and its
// content as the first web seed.
func (s *Server) ownTorrent(rel *Release, base string, stored []byte) (*torrentfile.Torrent, error) {
	t, err := torrentfile.Parse(stored)
	if err != nil || base == "" {
		return t, err
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
	return t, nil
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
