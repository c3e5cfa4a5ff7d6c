package torrentfile

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"strings"

	"distd/internal/layout"
)

// Spec says what a new torrent's infohash covers.
type Spec struct {
	// Name, Tree, Layout and Pieces are as in Torrent.
	Name   string
	Tree   bool
	Layout *layout.Layout
	Pieces []byte
	// Private asks clients to use the torrent's trackers only (BEP 27). A
	// torrent that is private has another infohash than one that is not.
	Private bool
	// Source is put under "source". It makes another infohash too.
	Source string
}

// Create returns a torrent without trackers and web seeds, which can be set
// before it is encoded. The info dictionary has the keys that BEP 3 asks for
// and no others, so that other tools give the same infohash for the same
// content. It refuses what Parse would refuse.
func Create(name string, tree bool, l *layout.Layout, pieces []byte) (*Torrent, error) {
	return Spec{Name: name, Tree: tree, Layout: l, Pieces: pieces}.Create()
}

// Create is as the function Create.
func (s Spec) Create() (*Torrent, error) {
	info, err := s.info()
	if err != nil {
		return nil, fmt.Errorf("create torrent %q: %w", s.Name, err)
	}
	t, err := parseRawInfo(info)
	if err != nil {
		return nil, fmt.Errorf("create torrent %q: %w", s.Name, err)
	}
	return t, nil
}

// Draft is Create for content that is still to be hashed: everything but the
// hashes is checked, before that takes its time. The torrent's Pieces has room
// for them; once they are there, Seal makes the infohash.
func (s Spec) Draft() (*Torrent, error) {
	if s.Layout != nil {
		if n := s.Layout.NumPieces(); n > MaxSize/HashSize {
			return nil, fmt.Errorf("create torrent %q: %d pieces of %d bytes are too many for a torrent: make them longer", s.Name, n, s.Layout.PieceLength)
		}
		s.Pieces = make([]byte, s.Layout.NumPieces()*HashSize)
	}
	return s.Create()
}

// Seal takes over what was written into the Pieces of a draft.
func (t *Torrent) Seal() { t.InfoHash = sha1.Sum(t.InfoBytes) }

func (s Spec) info() ([]byte, error) {
	if s.Layout == nil || len(s.Layout.Files) == 0 {
		return nil, errors.New("no files")
	}
	b := make([]byte, 0, len(s.Pieces)+100*len(s.Layout.Files)+1000)
	b = append(b, 'd')
	if s.Tree {
		var err error
		if b, err = s.appendFiles(b); err != nil {
			return nil, err
		}
	} else {
		if f := s.Layout.Files[0]; len(s.Layout.Files) != 1 || f.Path != s.Name {
			return nil, fmt.Errorf("a torrent of a single file has a layout of %d files, the first %q", len(s.Layout.Files), f.Path)
		}
		b = appendInt(appendString(b, "length"), s.Layout.Total)
	}
	b = appendString(appendString(b, "name"), s.Name)
	b = appendInt(appendString(b, "piece length"), s.Layout.PieceLength)
	b = appendString(appendString(b, "pieces"), s.Pieces)
	if s.Private {
		b = appendInt(appendString(b, "private"), 1)
	}
	if s.Source != "" {
		b = appendString(appendString(b, "source"), s.Source)
	}
	return append(b, 'e'), nil
}

func (s Spec) appendFiles(b []byte) ([]byte, error) {
	b = append(appendString(b, "files"), 'l')
	for _, f := range s.Layout.Files {
		rel, ok := strings.CutPrefix(f.Path, s.Name+"/")
		if !ok {
			return nil, fmt.Errorf("path %q does not begin with the torrent's name", f.Path)
		}
		b = appendInt(appendString(append(b, 'd'), "length"), f.Length)
		b = append(appendString(b, "path"), 'l')
		for e := range strings.SplitSeq(rel, "/") {
			b = appendString(b, e)
		}
		b = append(b, "ee"...)
	}
	return append(b, 'e'), nil
}
