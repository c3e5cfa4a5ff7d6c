package metalink

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"distd/internal/names"
)

// WriteV3 writes the document as version 3, in the form that the `metalink`
// program writes: attributes of a mirror in the order preference, location,
// type, one URL a line.
//
// Old pipelines run a sed over that program's output which appends ".torrent"
// to lines that begin with `<url preference="100" location="internal"
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
	return e.b.Bytes(), nil
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
	return nil
}

// encoder collects a document's lines.
type encoder struct{ b bytes.Buffer }

func (e *encoder) raw(line string) {
	e.b.WriteString(line)
	e.b.WriteByte('\n')
}

// element writes one element on one line. attrs are names and values; those
// with an empty value are left out.
func (e *encoder) element(name, text string, attrs ...string) {
	e.b.WriteByte('<')
	e.b.WriteString(name)
	e.attrs(attrs)
	e.b.WriteByte('>')
	e.escape(text)
	e.raw("</" + name + ">")
}

func (e *encoder) open(name string, attrs ...string) {
	e.b.WriteByte('<')
	e.b.WriteString(name)
	e.attrs(attrs)
	e.raw(">")
}

func (e *encoder) attrs(attrs []string) {
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] == "" {
			continue
		}
		e.b.WriteString(" " + attrs[i] + `="`)
		e.escape(attrs[i+1])
		e.b.WriteByte('"')
	}
}

// escape cannot fail: a buffer takes everything, and characters that XML does
// not have are replaced.
func (e *encoder) escape(s string) { _ = xml.EscapeText(&e.b, []byte(s)) }

func (e *encoder) v3(d *Document) {
	kind, date := "", ""
	if d.Dynamic {
		kind = "dynamic"
	}
	if !d.Published.IsZero() {
		date = d.Published.UTC().Format(time.RFC1123Z)
	}
	e.open("metalink", "version", "3.0", "xmlns", nsV3, "type", kind, "origin", d.Origin, "pubdate", date, "generator", d.Generator)
	e.raw("<files>")
	for i := range d.Files {
		e.fileV3(&d.Files[i])
	}
	e.raw("</files>")
	e.raw("</metalink>")
}

func (e *encoder) fileV3(f *File) {
	e.open("file", "name", f.Name)
	if f.Size >= 0 {
		e.element("size", strconv.FormatInt(f.Size, 10))
	}
	if len(f.Hashes) > 0 || f.Pieces != nil {
		e.raw("<verification>")
		e.hashes(f, hashNameV3)
		if p := f.Pieces; p != nil {
			e.open("pieces", "type", hashNameV3(p.Type), "length", strconv.FormatInt(p.Length, 10))
			for i, h := range p.Hashes {
				e.element("hash", h, "piece", strconv.Itoa(i))
			}
			e.raw("</pieces>")
		}
		e.raw("</verification>")
	}
	e.raw("<resources>")
	for _, u := range f.URLs {
		kind := u.Type
		if kind == "" {
			kind = scheme(u.URL)
		}
		e.element("url", u.URL, "preference", positive(Preference(u.Priority)), "location", u.Location, "type", kind, "maxconnections", positive(u.MaxConnections))
	}
	for _, u := range f.Torrents {
		e.element("url", u.URL, "type", "bittorrent", "location", u.Location, "preference", positive(Preference(u.Priority)), "maxconnections", positive(u.MaxConnections))
	}
	e.raw("</resources>")
	e.raw("</file>")
}

// hashNameV3 is the name version 3 has for a hash.
func hashNameV3(name string) string { return strings.Replace(name, "sha-", "sha", 1) }

func (e *encoder) hashes(f *File, name func(string) string) {
	for _, h := range hashOrder {
		if s, ok := f.Hashes[h]; ok {
			e.element("hash", s, "type", name(h))
		}
	}
}

func (e *encoder) v4(d *Document) {
	e.open("metalink", "xmlns", nsV4)
	if d.Generator != "" {
		e.element("generator", d.Generator)
	}
	if d.Origin != "" {
		dynamic := ""
		if d.Dynamic {
			dynamic = "true"
		}
		e.element("origin", d.Origin, "dynamic", dynamic)
	}
	if !d.Published.IsZero() {
		e.element("published", d.Published.UTC().Format(time.RFC3339))
	}
	for i := range d.Files {
		e.fileV4(&d.Files[i])
	}
	e.raw("</metalink>")
}

func (e *encoder) fileV4(f *File) {
	e.open("file", "name", f.Name)
	if f.Size >= 0 {
		e.element("size", strconv.FormatInt(f.Size, 10))
	}
	e.hashes(f, func(name string) string { return name })
	if p := f.Pieces; p != nil {
		e.open("pieces", "length", strconv.FormatInt(p.Length, 10), "type", p.Type)
		for _, h := range p.Hashes {
			e.element("hash", h)
		}
		e.raw("</pieces>")
	}
	for _, u := range f.URLs {
		e.element("url", u.URL, "location", u.Location, "priority", given(u.priority()))
	}
	for _, u := range f.Torrents {
		e.element("metaurl", u.URL, "mediatype", "torrent", "priority", given(u.priority()), "name", u.Name)
	}
	e.raw("</file>")
}

func positive(n int) string {
	if n < 1 {
		return ""
	}
	return strconv.Itoa(n)
}

// given is empty for the priority that URLs have without any.
func given(priority int) string {
	if priority == LowestPriority {
		return ""
	}
	return strconv.Itoa(priority)
}
