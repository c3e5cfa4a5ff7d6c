package serve

import (
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"distd/internal/manifest"
)

// Media types of the tree.
const (
	typeTorrent  = "application/x-bittorrent"
	typeMetalink = "application/metalink+xml"
	typeMeta4    = "application/metalink4+xml"
	typeJSON     = "application/json"
	typeText     = "text/plain; charset=utf-8"
	typeZstd     = "application/zstd" // RFC 8878
	typeBytes    = "application/octet-stream"
)

// contentType is the media type of a file of a release, by its extension.
func contentType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return typeBytes
}

// describe sets what is known of the bytes from their SHA-256: a strong ETag
// that is the same on every node, and their digest in the forms of RFC 3230
// (which RFC 6249 asks for) and RFC 9530.
func describe(h http.Header, sum []byte) {
	b64 := base64.StdEncoding.EncodeToString(sum)
	h.Set("ETag", `"sha256-`+hex.EncodeToString(sum)+`"`)
	h.Set("Digest", "SHA-256="+b64)
	h.Set("Repr-Digest", "sha256=:"+b64+":")
}

// Bounds of the mirrors that a response names, in links and bytes: its header
// must stay below what clients take.
const (
	maxLinks     = 10
	maxLinkBytes = 4 << 10
)

// link adds the links of RFC 6249: further places of the same bytes, and the
// torrent and metalink that describe them. base is the address of this server
// or "", which makes the latter relative.
func (s *Server) link(h http.Header, rel *Release, f *manifest.File, base string) {
	m := rel.Manifest
	if !s.cfg.LocalOnly {
		room := maxLinkBytes
		for _, mirror := range m.Mirrors[:min(len(m.Mirrors), maxLinks)] {
			l := duplicateLink(mirror, m.Kind, f.Path)
			if room -= len(l); room < 0 {
				break
			}
			h.Add("Link", l)
		}
	}
	meta := base + "/releases/" + rel.ID + "/" + manifest.EscapePath(m.Name)
	torrent := "<" + meta + ".torrent>; rel=describedby; type=\"" + typeTorrent + `"`
	if m.Kind == manifest.KindTree {
		torrent += `; name*=UTF-8''` + strings.ReplaceAll(manifest.EscapePath(m.ContentPath(f.Path)), "/", "%2F")
	}
	h.Add("Link", torrent)
	h.Add("Link", "<"+meta+".meta4>; rel=describedby; type=\""+typeMeta4+`"`)
}

func duplicateLink(m manifest.Mirror, kind manifest.Kind, path string) string {
	l := "<" + m.FileURL(kind, path) + ">; rel=duplicate; pri=" + strconv.Itoa(101-m.Preference)
	if isToken(m.Location) {
		l += "; geo=" + m.Location
	}
	return l
}

// isToken says whether s can stand in a header as a parameter without quotes.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// maxRanges is how many ranges of a file one request may ask for. Each range
// is a part with a header of its own, so tiny ones in great number would make
// the server send many times what was asked for.
const maxRanges = 16

// boundRanges makes a request for too many ranges one for the whole file,
// which RFC 9110 allows.
func boundRanges(r *http.Request) {
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		r.Header.Del("Range")
	}
}
