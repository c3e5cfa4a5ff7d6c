package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"distd/internal/manifest"
	"distd/internal/shrink"
	"distd/pkg/torrentfile"
)

// serveShort sends a document of the release in its short form: packed, or with
// a base as the difference from that release's. Both are made when they are
// asked for.
func (s *Server) serveShort(w *response, r *http.Request, rel *Release, doc, base string) {
	var from *Release
	if base != "" {
		var err error
		if from, err = s.cfg.Catalog.Release(base); err != nil {
			s.failErr(w, r, err, "this node does not have the base")
			return
		}
		// Others have nothing in common, and there could be very many pairs.
		if from.Manifest.Channel != rel.Manifest.Channel || from.ID == rel.ID {
			w.fail(http.StatusNotFound, "the base is not another release of the same channel")
			return
		}
	}
	d, err := s.document(madeKey{rel.ID, doc, base}, func() ([]byte, error) { return s.shorten(rel, from, doc) })
	if errors.Is(err, shrink.ErrTooLarge) {
		w.fail(http.StatusNotFound, "the documents are too large for a difference")
		return
	}
	if err != nil {
		s.failErr(w, r, err, "this node does not have the file")
		return
	}
	sendBytes(w, r, d, typeZstd, rel.Manifest.Created)
}

func (s *Server) shorten(rel, from *Release, doc string) ([]byte, error) {
	data, err := s.whole(rel, doc)
	if err != nil {
		return nil, err
	}
	var dict []byte
	if from != nil {
		if dict, err = s.whole(from, doc); err != nil {
			return nil, err
		}
	}
	b, err := shrink.Pack(data, dict)
	if err != nil {
		return nil, fmt.Errorf("release %s: %s: %w", rel.ID, doc, err)
	}
	return b, nil
}

// whole is the document as nodes store it.
func (s *Server) whole(rel *Release, doc string) ([]byte, error) {
	if doc != manifest.InfoDocument {
		return s.readMeta(rel, doc)
	}
	stored, err := s.readMeta(rel, rel.Manifest.Name+".torrent")
	if err != nil {
		return nil, err
	}
	t, err := torrentfile.Parse(stored)
	if err != nil {
		return nil, fmt.Errorf("release %s: its torrent cannot be read: %w: %w", rel.ID, fs.ErrNotExist, err)
	}
	return t.InfoBytes, nil
}

// KeepShort takes a document's short form as another node has given it, which is
// good: those who ask for it soon get it as it is. Making it would take longer than
// all else that they wait for.
func (s *Server) KeepShort(id, doc, base string, packed []byte) {
	d := newDocument(packed)
	s.made.put(madeKey{id, doc, base}, d, int64(len(d.data))+512)
}
