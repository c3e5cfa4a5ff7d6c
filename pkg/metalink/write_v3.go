package metalink

import (
	"strconv"
	"strings"
	"time"
)

func (e *encoder) v3(d *Document) {
	e.rootV3(d)
	e.header(d)
	if d.Description != "" {
		e.level = 1
		e.element("description", d.Description)
		e.level = 0
	}
	e.open("files")
	e.files(d, e.fileV3)
	e.close("files")
	e.raw("</metalink>")
}

// rootV3 starts the root element, one attribute a line.
func (e *encoder) rootV3(d *Document) {
	kind, date := "", ""
	if d.Dynamic {
		kind = "dynamic"
	}
	if !d.Published.IsZero() {
		date = d.Published.UTC().Format(time.RFC1123Z)
	}
	e.raw(`<metalink version="3.0"`)
	for _, a := range [][2]string{{"xmlns", nsV3}, {"type", kind}, {"origin", d.Origin}, {"pubdate", date}, {"generator", d.Generator}} {
		if a[1] != "" {
			e.b.WriteString("  ")
			e.attr(a[0], a[1])
			e.b.WriteByte('\n')
		}
	}
	e.raw("  >")
}

func (e *encoder) fileV3(f *File) {
	e.open("file", "name", f.Name)
	if f.Size >= 0 {
		e.element("size", strconv.FormatInt(f.Size, 10))
	}
	e.open("verification")
	e.hashes(f, hashOrderV3, hashNameV3)
	for _, s := range f.Signatures {
		kind := s.MediaType
		if kind == SignaturePGP {
			kind = "pgp"
		}
		e.element("signature", s.Text, "type", kind)
	}
	if p := f.Pieces; p != nil {
		e.open("pieces", "length", strconv.FormatInt(p.Length, 10), "type", hashNameV3(p.Type))
		for i, h := range p.Hashes {
			e.element("hash", h, "piece", strconv.Itoa(i))
		}
		e.close("pieces")
	}
	e.close("verification")
	e.resources(f)
	e.close("file")
}

func (e *encoder) resources(f *File) {
	e.open("resources")
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
	for _, l := range f.Links {
		e.element("url", l.URL, "type", l.Type)
	}
	e.close("resources")
}

// hashNameV3 is the name version 3 has for a hash.
func hashNameV3(name string) string { return strings.Replace(name, "sha-", "sha", 1) }

func (e *encoder) hashes(f *File, order []string, name func(string) string) {
	for _, h := range order {
		if s, ok := f.Hashes[h]; ok {
			e.element("hash", s, "type", name(h))
		}
	}
}
