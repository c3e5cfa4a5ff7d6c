package metalink

import (
	"strconv"
	"time"
)

func (e *encoder) v4(d *Document) {
	e.open("metalink", "xmlns", nsV4)
	e.header(d)
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
	e.files(d, func(f *File) { e.fileV4(f, d.Description) })
	e.close("metalink")
}

// fileV4 writes a file. There is no description of a whole document in version
// 4, so that each file has it.
func (e *encoder) fileV4(f *File, description string) {
	e.open("file", "name", f.Name)
	if description != "" {
		e.element("description", description)
	}
	if f.Size >= 0 {
		e.element("size", strconv.FormatInt(f.Size, 10))
	}
	e.hashes(f, hashOrder, func(name string) string { return name })
	if p := f.Pieces; p != nil {
		e.open("pieces", "length", strconv.FormatInt(p.Length, 10), "type", p.Type)
		for _, h := range p.Hashes {
			e.element("hash", h)
		}
		e.close("pieces")
	}
	for _, s := range f.Signatures {
		e.element("signature", s.Text, "mediatype", s.MediaType)
	}
	for _, u := range f.URLs {
		e.element("url", u.URL, "location", u.Location, "priority", given(u.priority()))
	}
	for _, u := range f.Torrents {
		e.element("metaurl", u.URL, "mediatype", "torrent", "priority", given(u.priority()), "name", u.Name)
	}
	e.close("file")
}
