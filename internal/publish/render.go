package publish

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

// generator is what documents say that they were made by.
const generator = "distd"

// Render writes the documents of a release from its manifest and torrent: the
// torrent as it is, both metalinks with the manifest's mirrors, and
// SHA256SUMS. data and sig are the encoded manifest and its signature.
//
// A tree of very many files may be too much for a metalink, whose readers have
// bounds. It then has none, which the two fields of Meta show by being nil.
func Render(m *manifest.Manifest, t *torrentfile.Torrent, data, sig []byte) (store.Meta, error) {
	return render(m, t, data, sig, "")
}

// RenderFor writes the documents of a release for a server at the address base,
// which has distd's own tree of URLs: base becomes the first source in all of
// them. torrent is the release's torrent, whose trackers stay.
func RenderFor(m *manifest.Manifest, torrent, data, sig []byte, base string) (store.Meta, error) {
	t, err := torrentfile.Parse(torrent)
	if err != nil {
		return store.Meta{}, err
	}
	t.WebSeeds = webSeeds(m, base+"/releases/"+manifest.ID(data)+"/")
	return render(m, t, data, sig, base)
}

// render is Render with the base URL of a server that has the release, in
// distd's own tree of URLs; "" for none.
func render(m *manifest.Manifest, t *torrentfile.Torrent, data, sig []byte, publicURL string) (store.Meta, error) {
	meta := store.Meta{Manifest: data, ManifestSig: sig, Sums: sha256sums(m)}
	var err error
	if meta.Torrent, err = t.Encode(); err != nil {
		return store.Meta{}, err
	}
	own := ""
	if publicURL != "" {
		own = publicURL + "/releases/" + manifest.ID(data) + "/"
	}
	var v3, v4 bytes.Buffer
	d := document(m, own, false, true)
	old := d
	if m.Kind == manifest.KindTree {
		// Version 3 cannot say which file of a torrent is meant: stock clients
		// would fetch the whole tree once for each file.
		old = document(m, own, true, false)
	}
	var g errgroup.Group
	g.Go(func() error { return d.WriteV4(&v4) })
	g.Go(func() error { return old.WriteV3(&v3) })
	err = g.Wait()
	switch {
	case err == nil:
		meta.Metalink, meta.Meta4 = v3.Bytes(), v4.Bytes()
	case m.Kind == manifest.KindFile:
		return store.Meta{}, err
	}
	return meta, nil
}

// Magnet is the magnet link of a release's torrent. base is the address of a
// server that has the release, in distd's own tree of URLs; "" for none.
func Magnet(t *torrentfile.Torrent, m *manifest.Manifest, id, base string) string {
	link := t.Magnet()
	if base != "" {
		link.Sources = []string{base + "/releases/" + id + "/" + manifest.EscapePath(m.Name) + ".torrent"}
	}
	return torrentfile.MagnetLink(link, m.Size)
}

// sha256sums writes what `sha256sum -c` reads in the content root. Names need
// no escapes: neither backslashes nor line breaks are allowed in them.
func sha256sums(m *manifest.Manifest) []byte {
	var b bytes.Buffer
	for _, f := range m.Files {
		if f.Symlink == "" {
			fmt.Fprintf(&b, "%s  %s\n", f.SHA256, m.ContentPath(f.Path))
		}
	}
	return b.Bytes()
}

// document describes the release as a metalink. own is the URL of the
// release's folder on the publisher's server, "" when it has none. hardLinks
// says whether further names of files are in it: as files of their own, which is
// what they are by HTTP. Where each file names its place in the torrent, as
// torrents says, they would be downloads beside it.
//
// There may be very many files: each is described when it is written.
func document(m *manifest.Manifest, own string, hardLinks, torrents bool) *metalink.Document {
	return &metalink.Document{Generator: generator, Published: m.Created, Each: func(yield func(*metalink.File) bool) {
		out := metalink.File{Hashes: map[string]string{}}
		for i := range m.Files {
			f := &m.Files[i]
			if f.Symlink != "" || f.Hardlink != "" && !hardLinks {
				continue
			}
			describe(&out, m, f, own, torrents)
			if !yield(&out) {
				return
			}
		}
	}}
}

// describe makes out the description of a file.
func describe(out *metalink.File, m *manifest.Manifest, f *manifest.File, own string, torrents bool) {
	name := m.ContentPath(f.Path)
	out.Name, out.Size, out.URLs, out.Torrents = name, f.Size, out.URLs[:0], out.Torrents[:0]
	clear(out.Hashes)
	out.Hashes["sha-256"] = f.SHA256
	if f.MD5 != "" {
		out.Hashes["md5"] = f.MD5
	}
	if own != "" {
		out.URLs = append(out.URLs, metalink.URL{URL: own + "content/" + manifest.EscapePath(name), Priority: 1})
	}
	if own != "" && torrents {
		t := metalink.URL{URL: own + manifest.EscapePath(m.Name) + ".torrent", Priority: 1, Type: "torrent"}
		if m.Kind == manifest.KindTree {
			t.Name = name
		}
		out.Torrents = append(out.Torrents, t)
	}
	for _, r := range m.Mirrors {
		out.URLs = append(out.URLs, metalink.URL{URL: r.FileURL(m.Kind, f.Path), Priority: metalink.Priority(r.Preference), Location: r.Location})
	}
	if m.Kind == manifest.KindFile {
		out.Pieces = pieces(m)
	}
}

// maxMetalinkPieces is how many piece hashes a metalink is given. More would
// make it longer than its readers take.
const maxMetalinkPieces = 100_000

// pieces returns the hashes of a single file's pieces. In a tree pieces do not
// begin where files begin, so its files have none.
func pieces(m *manifest.Manifest) *metalink.Pieces {
	n := len(m.Pieces) / 32
	if n == 0 || n > maxMetalinkPieces {
		return nil
	}
	p := &metalink.Pieces{Type: "sha-256", Length: m.PieceLength, Hashes: make([]string, n)}
	for i := range n {
		p.Hashes[i] = fmt.Sprintf("%x", m.PieceHash(i))
	}
	return p
}

// webSeeds returns the URLs that go into the torrent (BEP 19). There are no
// tiers in a torrent and stock clients use all URLs at once, so only those of
// the best tier are in it.
func webSeeds(m *manifest.Manifest, own string) []string {
	best := 0
	for _, r := range m.Mirrors {
		best = max(best, r.Preference)
	}
	var out []string
	if own != "" {
		best = 100
		u := own + "content/"
		if m.Kind == manifest.KindFile {
			u += manifest.EscapePath(m.Name)
		}
		out = append(out, u)
	}
	for _, r := range m.Mirrors {
		if u, ok := webSeed(m, r.URL); ok && r.Preference == best && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}

// webSeed turns a mirror into a web seed. Clients append the torrent's name
// to that of a tree, so it must end with the name to begin with.
func webSeed(m *manifest.Manifest, mirror string) (string, bool) {
	if m.Kind == manifest.KindFile {
		return mirror, true
	}
	base := strings.TrimSuffix(mirror, "/")
	i := strings.LastIndexByte(base, '/')
	last, err := url.PathUnescape(base[i+1:])
	if err != nil || last != m.Name {
		return "", false
	}
	return base[:i+1], true
}

// mirrors turns the mirrors of Options into those of the manifest: a URL that
// ends with a slash is a folder that holds the release under its name.
func mirrors(in []manifest.Mirror, kind manifest.Kind, name string) ([]manifest.Mirror, error) {
	if len(in) > manifest.MaxMirrors {
		return nil, fmt.Errorf("%d mirrors are more than %d", len(in), manifest.MaxMirrors)
	}
	out := slices.Clone(in)
	for i := range out {
		r := &out[i]
		if strings.HasSuffix(r.URL, "/") {
			r.URL += manifest.EscapePath(name)
		}
		if kind == manifest.KindTree {
			r.URL += "/"
		}
		if err := r.Check(kind); err != nil {
			return nil, fmt.Errorf("mirror %q: %w", in[i].URL, err)
		}
	}
	return out, nil
}
