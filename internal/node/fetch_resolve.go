package node

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/names"
	"distd/internal/outward"
	"distd/pkg/httpfetch"
	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

// target is one thing to download: what its bytes are, and where they are.
type target struct {
	name     string // below the folder of the downloads; a metalink's may have folders in it
	key      string // identity of the content, for the folder of the unfinished download
	torrent  *torrentfile.Torrent
	layout   *layout.Layout
	verify   func(piece int, data []byte) bool // nil: pieces have no hashes
	hashes   map[string]string                 // of the whole file, by IANA name
	mirrors  []httpfetch.Mirror
	trackers [][]string
	peers    []netip.AddrPort // that are known from the start
	named    []string         // HOST:PORT of peers that a link names
	identity string
	magnet   *magnet // what it is must be asked of peers still
	proof    *proof  // of a channel's release
	// hardLinks are names of that release's files that its torrent does not have.
	hardLinks []hardLink
	only      torrentfile.Ranges // of the layout's files, by the magnet link or the metalink; none is all
	within    bool               // the operator's selection was of the metalink's files
	selected  *selection         // what comes of it; nil: all is wanted
}

// web gets small documents for the fetch.
type web struct {
	mirrors *httpfetch.Client
	outward *outward.Access
	o       FetchOptions
}

func newWeb(o FetchOptions) (*web, error) {
	way, err := outward.New(outward.Config{CA: o.CA, ClientCert: o.ClientCert, ClientKey: o.ClientKey, AuthFile: o.AuthFile, Proxy: o.Proxy})
	if err != nil {
		return nil, err
	}
	c := mirrorClient(o.Congestion, o.Version, way)
	c.Network = o.network()
	return &web{mirrors: httpfetch.NewClient(c), outward: way, o: o}, nil
}

// shownInput is an input without the password that a URL may have in it.
func shownInput(in string) string {
	u, err := url.Parse(in)
	if err != nil || u.User == nil {
		return in
	}
	u.User = nil
	return u.String()
}

const (
	torrentGrace = 30 * time.Second // for a metalink's torrent when there are mirrors too, as aria2 waits
	urlPiece     = 1 << 20          // piece length of a plain URL, which has no hashes
)

func isDocument(p, contentType string) bool {
	contentType, _, _ = strings.Cut(contentType, ";")
	switch contentType {
	case "application/x-bittorrent", "application/metalink+xml", "application/metalink4+xml":
		return true
	}
	switch path.Ext(p) {
	case ".torrent", ".metalink", ".meta4":
		return true
	}
	return false
}

// distinct leaves out what was named more than once: a metalink of version 4
// has the same torrent at each file of a tree. The mirrors are kept. Different
// downloads of one name are refused.
func distinct(all []*target) ([]*target, error) {
	var out []*target
	var taken names.Set
	first := map[string]*target{}
	for _, t := range all {
		if same := first[t.key]; same != nil {
			same.mirrors = append(same.mirrors, t.mirrors...)
			if same.only = append(same.only, t.only...); len(t.only) == 0 {
				same.only = nil
			}
			continue
		}
		if t.layout == nil && t.magnet != nil {
			// Its name is not known yet.
		} else if err := taken.Add(t.name); err != nil {
			return nil, fmt.Errorf("two different downloads would have one name: %w; fetch them into different folders with -d", err)
		}
		first[t.key] = t
		out = append(out, t)
	}
	return out, nil
}

// document reads a torrent or a metalink.
func (w *web) document(ctx context.Context, b []byte) ([]*target, error) {
	if bytes.HasPrefix(b, []byte("d")) {
		t, err := torrentfile.Parse(b)
		if err != nil {
			return nil, coded(ExDataErr, err)
		}
		out := w.torrentTarget(t)
		w.restrict(out)
		return []*target{out}, nil
	}
	doc, err := metalink.Parse(bytes.NewReader(b))
	if err != nil {
		return nil, coded(ExDataErr, fmt.Errorf("neither a torrent nor a metalink: %w", err))
	}
	files, err := w.selectFiles(doc)
	if err != nil {
		return nil, err
	}
	var out []*target
	for i := range files {
		t, err := w.metalinkTarget(ctx, &files[i])
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", files[i].Name, err)
		}
		if len(files) < len(doc.Files) {
			t.onlyFile(&files[i])
		}
		out = append(out, t)
	}
	return out, nil
}

// get reads a document of at most limit bytes.
func (w *web) get(ctx context.Context, u string, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := httpfetch.Get(ctx, w.mirrors, u, &b, limit); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// torrentTarget is the download of a torrent: from its peers and web seeds.
func (w *web) torrentTarget(t *torrentfile.Torrent) *target {
	out := &target{
		name: t.Name, torrent: t, layout: t.Layout, trackers: t.Announce, key: hex.EncodeToString(t.InfoHash[:]),
		verify: func(i int, data []byte) bool { return sha1.Sum(data) == t.PieceHash(i) },
	}
	out.identity = out.key
	if len(w.o.Trackers) > 0 && !t.Private {
		out.trackers = append(slices.Clone(out.trackers), w.o.Trackers)
	}
	for _, ws := range t.WebSeeds {
		out.mirrors = append(out.mirrors, webSeed(t, ws))
	}
	return out
}

// webSeed is the mirror that a torrent's url-list names (BEP 19).
func webSeed(t *torrentfile.Torrent, ws string) httpfetch.Mirror {
	return httpfetch.Mirror{URL: ws, FileURL: func(p string) string {
		if !t.Tree && !strings.HasSuffix(ws, "/") {
			return ws
		}
		return strings.TrimSuffix(ws, "/") + "/" + manifest.EscapePath(p)
	}}
}

// metalinkTarget is the download of one file of a metalink: from mirrors in
// tiers and, when it names a torrent that can be had, from the swarm.
func (w *web) metalinkTarget(ctx context.Context, f *metalink.File) (*target, error) {
	top, _, _ := strings.Cut(f.Name, "/")
	if err := names.ReleaseName(top); err != nil {
		return nil, err
	}
	var mirrors []httpfetch.Mirror
	for tier, urls := range f.Tiers() {
		for _, u := range urls {
			mirrors = append(mirrors, httpfetch.Mirror{URL: u.URL, FileURL: func(string) string { return u.URL }, Tier: tier, Location: u.Location})
		}
	}
	prefer(mirrors, w.o.Prefer)
	mirrors, refused := allow(mirrors, w.o.Locations)
	t, err := w.torrentOf(ctx, f, len(mirrors) > 0)
	if err != nil {
		return nil, err
	}
	if t != nil {
		out := w.torrentTarget(t)
		for i := range out.mirrors {
			out.mirrors[i].Location = locationOf(out.mirrors[i].URL, f.URLs)
		}
		if t.Tree {
			mirrors = nil // a single URL cannot be a tree; the torrent's web seeds can
		}
		out.mirrors = append(out.mirrors, mirrors...)
		out.hashes = f.Hashes
		w.restrict(out)
		return out, nil
	}
	if refused != nil {
		return nil, coded(ExUnavailable, refused)
	}
	if len(mirrors) == 0 {
		return nil, errors.New("it has no HTTP mirror, and none of its torrents can be had")
	}
	return w.mirrored(ctx, f, mirrors)
}

// torrentOf gets the first of a metalink's torrents that can be had and fits.
// Mirrors stand in when none can: the swarm is the faster way, not the only.
func (w *web) torrentOf(ctx context.Context, f *metalink.File, optional bool) (*torrentfile.Torrent, error) {
	if optional {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, torrentGrace)
		defer cancel()
	}
	var errs []error
	for _, u := range f.Torrents {
		if u.Location != "" && !w.o.Locations.Allows(u.Location) {
			errs = append(errs, coded(ExUnavailable, fmt.Errorf("the torrent at %s is not asked for: %v does not allow location %s", u.URL, w.o.Locations, u.Location)))
			continue
		}
		b, err := w.get(ctx, u.URL, maxTorrent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t, err := torrentfile.Parse(b)
		if err == nil && !t.Tree && f.Size >= 0 && t.Layout.Total != f.Size {
			err = fmt.Errorf("the torrent at %s has %d bytes, the metalink says %d", u.URL, t.Layout.Total, f.Size)
		}
		if err == nil {
			return t, nil
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err != nil && optional {
		w.o.Log.Warn("going on with the mirrors alone: " + err.Error())
		return nil, nil
	}
	return nil, err
}

// mirrored is the download of a metalink's file without a torrent.
func (w *web) mirrored(ctx context.Context, f *metalink.File, mirrors []httpfetch.Mirror) (*target, error) {
	size := f.Size
	if size < 0 {
		info, err := httpfetch.Probe(ctx, w.mirrors, mirrors[0].URL)
		if err != nil {
			return nil, err
		}
		size = info.Length
	}
	t := &target{name: f.Name, mirrors: mirrors, hashes: f.Hashes}
	pieceLength := int64(urlPiece)
	if p := f.Pieces; p != nil {
		verify, err := pieceVerifier(p)
		if err != nil {
			return nil, err
		}
		pieceLength, t.verify = p.Length, verify
	}
	id := sha256.New()
	_, _ = fmt.Fprintf(id, "%s %d %v %v", f.Name, size, f.Hashes, f.Pieces)
	return t, t.cut(size, pieceLength, hex.EncodeToString(id.Sum(nil)))
}

// pieceVerifier checks pieces against a metalink's hashes.
func pieceVerifier(p *metalink.Pieces) (func(int, []byte) bool, error) {
	var sum func([]byte) string
	switch p.Type {
	case "sha-1":
		sum = func(b []byte) string { s := sha1.Sum(b); return hex.EncodeToString(s[:]) }
	case "sha-256":
		sum = func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	default:
		return nil, fmt.Errorf("piece hashes of type %q are not known (sha-1 and sha-256 are)", p.Type)
	}
	return func(i int, data []byte) bool { return i < len(p.Hashes) && sum(data) == p.Hashes[i] }, nil
}

// cut gives a target without a torrent its pieces and its identity.
func (t *target) cut(size, pieceLength int64, identity string) (err error) {
	t.layout, err = layout.New(pieceLength, []layout.File{{Path: t.name, Length: size}})
	t.identity, t.key = identity, identity[:40]
	return err
}

// infoHash is the torrent's, or a stand-in for a download that has no swarm.
func (t *target) infoHash() [20]byte {
	if t.torrent != nil {
		return t.torrent.InfoHash
	}
	return sha1.Sum([]byte("distd:" + t.identity))
}
