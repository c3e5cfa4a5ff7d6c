package serve

import (
	"bytes"
	"io"

	"distd/internal/manifest"
	"distd/pkg/metalink"
)

// makeMetalink makes version 3, which cannot say which file of a torrent is
// meant: with a torrent at each file of a tree, stock clients would fetch the
// whole tree once for each.
func makeMetalink(s *Server, rel *Release, base string, stored []byte) ([]byte, error) {
	return s.makeLinks(rel, base, stored, rel.Manifest.Kind != manifest.KindTree, (*metalink.Document).WriteV3)
}

func makeMeta4(s *Server, rel *Release, base string, stored []byte) ([]byte, error) {
	return s.makeLinks(rel, base, stored, true, (*metalink.Document).WriteV4)
}

// makeLinks puts this server into each file of a metalink: its torrent, or
// none, in place of others, and its content as the best tier, unless the
// publisher has given this server another one.
func (s *Server) makeLinks(rel *Release, base string, stored []byte, torrents bool, write func(*metalink.Document, io.Writer) error) ([]byte, error) {
	d, err := metalink.Parse(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	for i := range d.Files {
		f := &d.Files[i]
		s.ownContent(rel, base, f)
		if torrents {
			ownTorrent(rel, base, f)
		} else {
			f.Torrents = nil
		}
	}
	var b bytes.Buffer
	if err := write(d, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (s *Server) ownContent(rel *Release, base string, f *metalink.File) {
	for _, u := range f.URLs {
		if !s.cfg.LocalOnly && sameServer(u.URL, base) {
			return
		}
	}
	own := metalink.URL{URL: contentURL(base, rel), Priority: 1}
	if rel.Manifest.Kind == manifest.KindTree {
		own.URL = base + "/releases/" + rel.ID + "/content/" + manifest.EscapePath(f.Name)
	}
	urls := []metalink.URL{own}
	if !s.cfg.LocalOnly {
		for _, u := range f.URLs {
			u.Priority = min(u.Priority+1, metalink.LowestPriority)
			urls = append(urls, u)
		}
	}
	f.URLs = urls
}

func ownTorrent(rel *Release, base string, f *metalink.File) {
	own := metalink.URL{URL: torrentURL(base, rel), Priority: 1}
	if len(f.Torrents) > 0 {
		own = f.Torrents[0] // its location and name inside the torrent stay
		own.URL = torrentURL(base, rel)
	} else if rel.Manifest.Kind == manifest.KindTree {
		own.Name = f.Name
	}
	f.Torrents = []metalink.URL{own}
}
