package torrentfile

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"strings"

	"distd/internal/layout"
	"distd/internal/names"
)

// parseInfo reads a checked info dictionary.
func parseInfo(info value) (*Torrent, error) {
	f, err := info.fields()
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	t := &Torrent{InfoBytes: info, InfoHash: sha1.Sum(info)}
	if err := t.takeName(f); err != nil {
		return nil, err
	}
	if v, ok := f["private"]; ok {
		n, err := v.int()
		if err != nil {
			return nil, fmt.Errorf("%q: %w", "private", err)
		}
		t.Private = n != 0
	}
	if v, ok := f["source"]; ok {
		// Others write all kinds of things here, and nothing depends on it.
		if b, err := v.bytes(); err == nil {
			t.Source = strings.ToValidUTF8(string(b), "\ufffd")
		}
	}
	var files []layout.File
	single, tree := f["length"], f["files"]
	switch {
	case single != nil && tree != nil:
		return nil, errors.New("it has both a length and a list of files")
	case single != nil:
		n, err := fileLength(single)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", t.Name, err)
		}
		files = []layout.File{{Path: t.Name, Length: n}}
	case tree != nil:
		t.Tree = true
		if files, err = t.parseFiles(tree); err != nil {
			return nil, err
		}
	case f["file tree"] != nil:
		return nil, errors.New("it is of v2 only (BEP 52): make a v1 or hybrid torrent")
	default:
		return nil, errors.New("it has neither a length nor a list of files")
	}
	if err := t.takePieces(f, files); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Torrent) takeName(f map[string]value) error {
	v, ok := f["name.utf-8"]
	if !ok {
		if v, ok = f["name"]; !ok {
			return errors.New("it has no name")
		}
	}
	b, err := v.bytes()
	if err != nil {
		return fmt.Errorf("%q: %w", "name", err)
	}
	t.Name = string(b)
	return names.ReleaseName(t.Name)
}

func (t *Torrent) takePieces(f map[string]value, files []layout.File) error {
	v, ok := f["piece length"]
	if !ok {
		return errors.New("it has no piece length")
	}
	length, err := v.int()
	if err != nil {
		return fmt.Errorf("%q: %w", "piece length", err)
	}
	if length < MinPieceLength || length > MaxPieceLength {
		return fmt.Errorf("piece length %d is not between %d and %d", length, MinPieceLength, MaxPieceLength)
	}
	if v, ok = f["pieces"]; !ok {
		return errors.New("it has no piece hashes")
	}
	if t.Pieces, err = v.bytes(); err != nil {
		return fmt.Errorf("%q: %w", "pieces", err)
	}
	if t.Layout, err = layout.New(length, files); err != nil {
		return err
	}
	if n := t.Layout.NumPieces(); len(t.Pieces)%HashSize != 0 || len(t.Pieces)/HashSize != n {
		return fmt.Errorf("%d bytes of piece hashes do not fit: %d bytes in pieces of %d are %d pieces, which need %d",
			len(t.Pieces), t.Layout.Total, length, n, int64(n)*HashSize)
	}
	return nil
}

func fileLength(v value) (int64, error) {
	n, err := v.int()
	if err != nil {
		return 0, fmt.Errorf("length: %w", err)
	}
	if n < 0 {
		return 0, fmt.Errorf("length %d is negative", n)
	}
	return n, nil
}
