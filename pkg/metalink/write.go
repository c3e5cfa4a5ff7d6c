package metalink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
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
	if d.Origin != "" {
		if err := checkURL(d.Origin); err != nil {
			return nil, fmt.Errorf("origin: %w", err)
		}
	}
	e := &encoder{}
	e.raw(`<?xml version="1.0" encoding="UTF-8"?>`)
	version(e, d)
	if e.err == nil && e.written == 0 {
		e.err = errFiles(0)
	}
	if e.err == nil {
		e.bound()
	}
	if e.err != nil {
		return nil, e.err
	}
	if err := d.checkHeader(e.b.Bytes(), e.written); err != nil {
		return nil, err
	}
	return e.b.Bytes(), nil
}

// checkHeader looks whether the document, which has so many files, is still the
// one that it should be with the header in it, whose XML may be anything.
func (d *Document) checkHeader(encoded []byte, files int) error {
	if len(d.Header) == 0 {
		return nil
	}
	back, err := Parse(bytes.NewReader(encoded))
	if err != nil {
		return fmt.Errorf("with the header: %w", err)
	}
	if len(back.Files) != files {
		return errors.New("the header has files of its own in it")
	}
	return nil
}

func errFiles(n int) error { return fmt.Errorf("%d files are not between 1 and %d", n, MaxFiles) }

// files writes the files one by one. It refuses what Parse would refuse or leave
// out, and writes no more of a document that becomes too long.
func (e *encoder) files(d *Document, write func(*File)) {
	if d.Each == nil && len(d.Files) > MaxFiles {
		e.err = errFiles(len(d.Files))
		return
	}
	var set nameSet
	for f := range d.each() {
		if e.written == MaxFiles {
			e.err = fmt.Errorf("more than %d files", MaxFiles)
			return
		}
		if e.err = f.checkAll(&set); e.err != nil {
			return
		}
		write(f)
		e.written++
		if e.bound(); e.err != nil {
			return
		}
	}
}

// each yields the files of the document.
func (d *Document) each() iter.Seq[*File] {
	if d.Each != nil {
		return d.Each
	}
	return func(yield func(*File) bool) {
		for i := range d.Files {
			if !yield(&d.Files[i]) {
				return
			}
		}
	}
}

// bound refuses a document that is too long as far as it is written.
func (e *encoder) bound() {
	if e.b.Len() > MaxSize {
		e.err = fmt.Errorf("%d bytes are more than the limit of %d", e.b.Len(), MaxSize)
	}
}

// checkAll checks the file, whose name must be none of those before it.
func (f *File) checkAll(set *nameSet) error {
	if err := set.add(f.Name); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	err := f.check()
	if err == nil {
		err = f.checkURLs()
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", f.Name, err)
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
