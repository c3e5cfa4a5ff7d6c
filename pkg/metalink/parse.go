package metalink

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"distd/internal/names"
)

// Namespaces of the two versions.
const (
	nsV3 = "http://www.metalinker.org/"
	nsV4 = "urn:ietf:params:xml:ns:metalink"
)

// Parse reads a metalink of either version. URLs that are not http, https or
// ftp, and hashes of unknown kinds, are left out; anything else that is wrong
// refuses the document, with an error that says what and where.
func Parse(r io.Reader) (*Document, error) {
	d, err := parse(newReader(r))
	if err != nil {
		return nil, fmt.Errorf("parse metalink: %w", err)
	}
	return d, nil
}

// parser reads one document.
type parser struct {
	*reader
	ns    string
	doc   Document
	names nameSet
}

func parse(r *reader) (*Document, error) {
	p := &parser{reader: r}
	root, err := p.root()
	if err != nil {
		return nil, err
	}
	p.ns = root.Name.Space
	if p.ns == nsV3 {
		p.doc.Generator = word(root, "generator")
		p.doc.Dynamic = word(root, "type") == "dynamic"
		p.setOrigin(word(root, "origin"))
		p.setPublished(word(root, "pubdate"), time.RFC1123Z, time.RFC1123)
	}
	if err := p.children(p.top); err != nil {
		return nil, err
	}
	if len(p.doc.Files) == 0 {
		return nil, errors.New("it describes no file")
	}
	for {
		tok, err := p.next()
		if errors.Is(err, io.EOF) {
			return &p.doc, nil
		}
		if err != nil {
			return nil, err
		}
		if text, ok := tok.(xml.CharData); !ok || strings.TrimSpace(string(text)) != "" {
			return nil, errors.New("there is something behind its end")
		}
	}
}

// root reads up to the start of the root element.
func (p *parser) root() (xml.StartElement, error) {
	for {
		tok, err := p.next()
		if err != nil {
			return xml.StartElement{}, unexpected(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local != "metalink" || e.Name.Space != nsV3 && e.Name.Space != nsV4 {
			return e, fmt.Errorf("the element %.40q in namespace %.60q is no metalink of version 3 or 4", e.Name.Local, e.Name.Space)
		}
		return e, nil
	}
}

// name is the element's name, empty when it is not of the document's
// namespace.
func (p *parser) name(e xml.StartElement) string {
	if e.Name.Space != p.ns {
		return ""
	}
	return e.Name.Local
}

func (p *parser) top(e xml.StartElement) error {
	switch name := p.name(e); {
	case name == "files" && p.ns == nsV3:
		return p.children(p.top)
	case name == "file":
		return p.file(e)
	case p.ns == nsV4 && (name == "generator" || name == "origin" || name == "published"):
		s, err := p.text()
		if err != nil {
			return err
		}
		switch name {
		case "generator":
			p.doc.Generator = s
		case "origin":
			p.doc.Dynamic = word(e, "dynamic") == "true" || word(e, "dynamic") == "1"
			p.setOrigin(s)
		default:
			p.setPublished(s, time.RFC3339)
		}
		return nil
	default:
		return p.skip()
	}
}

func (p *parser) setOrigin(s string) {
	if checkURL(s) == nil {
		p.doc.Origin = s
	}
}

func (p *parser) setPublished(s string, formats ...string) {
	for _, f := range formats {
		if t, err := time.Parse(f, s); err == nil && t.Year() > 1900 && t.Year() < 9999 {
			p.doc.Published = t.UTC().Truncate(time.Second)
			return
		}
	}
}

func (p *parser) file(e xml.StartElement) error {
	if len(p.doc.Files) == MaxFiles {
		return p.at(fmt.Errorf("more than %d files", MaxFiles))
	}
	f := File{Name: attr(e, "name"), Size: -1, Hashes: map[string]string{}}
	if err := p.names.add(f.Name); err != nil {
		return p.at(fmt.Errorf("file: %w", err))
	}
	err := p.children(func(e xml.StartElement) error { return p.fileChild(&f, e) })
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", f.Name, err)
	}
	p.doc.Files = append(p.doc.Files, f)
	return nil
}

func (p *parser) fileChild(f *File, e xml.StartElement) error {
	descend := func(e xml.StartElement) error { return p.fileChild(f, e) }
	v3 := p.ns == nsV3
	switch name := p.name(e); {
	case v3 && (name == "verification" || name == "resources"):
		return p.children(descend)
	case name == "size":
		return p.size(f)
	case name == "hash":
		return p.hash(f, e)
	case name == "pieces":
		return p.pieces(f, e)
	case name == "signature":
		return p.signature(f, e)
	case name == "url" && v3:
		return p.urlV3(f, e)
	case name == "url":
		return p.urlV4(f, e, &f.URLs)
	case name == "metaurl" && !v3 && word(e, "mediatype") == "torrent":
		return p.urlV4(f, e, &f.Torrents)
	default:
		return p.skip()
	}
}

func (p *parser) size(f *File) error {
	s, err := p.text()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return p.at(fmt.Errorf("size %.40q is not a number of bytes", s))
	}
	f.Size = n
	return nil
}

func (p *parser) hash(f *File, e xml.StartElement) error {
	s, err := p.text()
	if err != nil {
		return err
	}
	name, s := hashName(word(e, "type")), strings.ToLower(s)
	if name == "" {
		return nil
	}
	if old, ok := f.Hashes[name]; ok && old != s {
		return p.at(fmt.Errorf("two different %s hashes", name))
	}
	f.Hashes[name] = s
	return nil
}

func (p *parser) signature(f *File, e xml.StartElement) error {
	kind := word(e, "mediatype")
	if p.ns == nsV3 {
		kind = word(e, "type")
	}
	if strings.EqualFold(kind, "pgp") {
		kind = SignaturePGP
	}
	s, err := p.text()
	if err != nil || s == "" {
		return err
	}
	f.Signatures = append(f.Signatures, Signature{MediaType: kind, Text: s})
	if len(f.Signatures) > MaxSignatures {
		return p.at(fmt.Errorf("more than %d signatures", MaxSignatures))
	}
	return nil
}

// pieces reads a list of piece hashes and keeps the strongest one of a file.
func (p *parser) pieces(f *File, e xml.StartElement) error {
	list := Pieces{Type: hashName(word(e, "type"))}
	if list.Type == "" || f.Pieces != nil && hashSizes[f.Pieces.Type] >= hashSizes[list.Type] {
		return p.skip()
	}
	var err error
	if list.Length, err = strconv.ParseInt(word(e, "length"), 10, 64); err != nil {
		return p.at(fmt.Errorf("length of pieces %.40q is not a number", word(e, "length")))
	}
	err = p.children(func(e xml.StartElement) error {
		if p.name(e) != "hash" {
			return p.skip()
		}
		if i := word(e, "piece"); i != "" && i != strconv.Itoa(len(list.Hashes)) {
			return p.at(fmt.Errorf("the hash of piece %.20q stands where that of piece %d belongs", i, len(list.Hashes)))
		}
		s, err := p.text()
		list.Hashes = append(list.Hashes, strings.ToLower(s))
		return err
	})
	f.Pieces = &list
	return err
}

func (p *parser) urlV3(f *File, e xml.StartElement) error {
	// Atoi's zero for what is no number is "not given" in all three places.
	preference, _ := strconv.Atoi(word(e, "preference"))
	u := URL{Priority: Priority(preference)}
	if n, _ := strconv.Atoi(word(e, "maxconnections")); n > 0 {
		u.MaxConnections = n
	}
	if strings.EqualFold(word(e, "type"), "bittorrent") {
		return p.addURL(f, e, u, &f.Torrents)
	}
	return p.addURL(f, e, u, &f.URLs)
}

func (p *parser) urlV4(f *File, e xml.StartElement, list *[]URL) error {
	u := URL{Priority: LowestPriority}
	if s := word(e, "priority"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > LowestPriority {
			return p.at(fmt.Errorf("priority %.20q is not between 1 and %d", s, LowestPriority))
		}
		u.Priority = n
	}
	if list == &f.Torrents {
		if u.Name = attr(e, "name"); u.Name != "" {
			if err := names.Path(u.Name); err != nil {
				return p.at(fmt.Errorf("torrent: %w", err))
			}
		}
	}
	return p.addURL(f, e, u, list)
}

func (p *parser) addURL(f *File, e xml.StartElement, u URL, list *[]URL) error {
	var err error
	if u.URL, err = p.text(); err != nil {
		return err
	}
	if checkURL(u.URL) != nil {
		return nil
	}
	if len(f.URLs)+len(f.Torrents) == MaxURLs {
		return p.at(fmt.Errorf("more than %d URLs", MaxURLs))
	}
	u.Location = strings.ToLower(word(e, "location"))
	if u.Type = scheme(u.URL); list == &f.Torrents {
		u.Type = "torrent"
	}
	*list = append(*list, u)
	return nil
}
