package metalink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"distd/internal/names"
)

// maxLink bounds a link in bytes. It has a file's name in it.
const maxLink = 4096

// WriteV3 writes the document as version 3, in the form that the `metalink`
// program writes: its white space, its order of hashes, and the attributes of
// a mirror in the order preference, location, type, since scripts read that
// program's output line by line.
//
// Old pipelines run a sed over that program's output which appends ".torrent"
// to lines that have `<url preference="100" location="internal"
// type="bittorrent">`. The attributes of torrents are therefore written in
// another order: such a sed finds nothing to change, and the URL is to have
// its ".torrent" already.
func (d *Document) WriteV3(w io.Writer) error { return d.write(w, (*encoder).v3) }

// WriteV4 writes the document as version 4 (RFC 5854).
func (d *Document) WriteV4(w io.Writer) error { return d.write(w, (*encoder).v4) }

func (d *Document) write(w io.Writer, version func(*encoder, *Document)) error {
	b, err := d.encode(version)
	if err == nil {
		_, err = w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("write metalink: %w", err)
	}
	return nil
}

func (d *Document) encode(version func(*encoder, *Document)) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	e := &encoder{}
	e.raw(`<?xml version="1.0" encoding="UTF-8"?>`)
	version(e, d)
	if e.b.Len() > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", e.b.Len(), MaxSize)
	}
	if err := d.checkHeader(e.b.Bytes()); err != nil {
		return nil, err
	}
	return e.b.Bytes(), nil
}

// checkHeader looks whether the document is still the one that it should be
// with the header in it, whose XML may be anything.
func (d *Document) checkHeader(encoded []byte) error {
	if len(d.Header) == 0 {
		return nil
	}
	back, err := Parse(bytes.NewReader(encoded))
	if err != nil {
		return fmt.Errorf("with the header: %w", err)
	}
	if len(back.Files) != len(d.Files) {
		return errors.New("the header has files of its own in it")
	}
	return nil
}

// check refuses what Parse would refuse or leave out.
func (d *Document) check() error {
	if len(d.Files) == 0 || len(d.Files) > MaxFiles {
		return fmt.Errorf("%d files are not between 1 and %d", len(d.Files), MaxFiles)
	}
	if d.Origin != "" {
		if err := checkURL(d.Origin); err != nil {
			return fmt.Errorf("origin: %w", err)
		}
	}
	var set nameSet
	for i := range d.Files {
		f := &d.Files[i]
		if err := set.add(f.Name); err != nil {
			return fmt.Errorf("file: %w", err)
		}
		if err := f.check(); err != nil {
			return fmt.Errorf("file %q: %w", f.Name, err)
		}
		if err := f.checkURLs(); err != nil {
			return fmt.Errorf("file %q: %w", f.Name, err)
		}
	}
	return nil
}

func (f *File) checkURLs() error {
	if n := len(f.URLs) + len(f.Torrents); n > MaxURLs {
		return fmt.Errorf("%d URLs are more than %d", n, MaxURLs)
	}
	for _, list := range [][]URL{f.URLs, f.Torrents} {
		for _, u := range list {
			if err := checkURL(u.URL); err != nil {
				return err
			}
			if u.Name == "" {
				continue
			}
			if err := names.Path(u.Name); err != nil {
				return fmt.Errorf("torrent %q: %w", u.URL, err)
			}
		}
	}
	for _, l := range f.Links {
		if l.Type == "" || len(l.URL) > maxLink || !utf8.ValidString(l.URL) || strings.ContainsFunc(l.URL, unicode.IsControl) {
			return fmt.Errorf("link %.100q has no type or is not one of at most %d bytes of text", l.URL, maxLink)
		}
	}
	return nil
}
