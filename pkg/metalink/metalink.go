// Package metalink reads and writes metalinks: documents that name files with
// their sizes, hashes, mirrors and torrents. Version 3 (metalinker.org, the
// .metalink of old tools) and version 4 (RFC 5854, .meta4) are both read, told
// apart by their namespace, and both written.
//
// Parse is a gate for foreign input: everything is bounded before it is
// allocated, document types, entities and processing instructions are
// refused, and the names of files obey the rules of releases. What Parse
// returns can be written again, and what is written can be parsed.
//
// The package has no goroutines.
package metalink

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Media types to serve the documents with.
const (
	TypeV3 = "application/metalink+xml"
	TypeV4 = "application/metalink4+xml"
)

// Bounds of what Parse accepts.
const (
	MaxSize  = 16 << 20 // bytes of a document
	MaxFiles = 100_000
	// MaxURLs bounds a file's mirrors and torrents together.
	MaxURLs = 1000
	// MaxURLLength is in bytes. Longer URLs are left out.
	MaxURLLength = 2048
	// MaxSignatures bounds the signatures of a file, and MaxSignature the
	// bytes of each.
	MaxSignatures = 16
	MaxSignature  = 8 << 10
)

// Document is a metalink of either version.
type Document struct {
	Files []File
	// Each, when it is set, yields the files that are written instead of Files, so
	// that they need not be in memory together. A file that it has yielded is not
	// used any more when it is asked for the next. It is not parsed.
	Each iter.Seq[*File]
	// Origin is the document's own URL; with Dynamic set a newer version may
	// be found there. Version 4 cannot express Dynamic without Origin.
	Origin    string
	Dynamic   bool
	Generator string
	// Published is in UTC and whole seconds. Zero means unknown.
	Published time.Time
	// Description is written and not parsed.
	Description string
	// Header is XML that writers put behind the start of the root element as
	// it is. Writing fails where that makes another document than the rest of
	// this one. It is not parsed.
	Header []byte
}

// File is one file of a document.
type File struct {
	// Name is a relative, slash-separated path.
	Name string
	// Size is in bytes, -1 when unknown.
	Size int64
	// Hashes has lower-case hex digits by the hash's IANA name: "md5",
	// "sha-1", "sha-224", "sha-256", "sha-384", "sha-512". There may also be
	// "md4", "rmd160", "crc32" and "ed2k", which have none: version 3 has
	// them written, version 4 has not, and Parse leaves them out.
	Hashes map[string]string
	// Pieces has hashes of parts of the file, or is nil.
	Pieces *Pieces
	// URLs are where the file itself lies, in the document's order.
	URLs []URL
	// Torrents are URLs of .torrent files that the file is part of.
	Torrents []URL
	// Links are addresses for programs of other networks, such as magnet and
	// ed2k. Version 3 has them written, version 4 has not, and Parse leaves
	// them out.
	Links []Link
	// Signatures are kept as they are; nothing here checks them.
	Signatures []Signature
}

// Link is an address that is no http, https or ftp URL.
type Link struct {
	Type string // version 3's type of the URL, such as "magnet"
	URL  string
}

// Signature is a signature of a file by its publisher.
type Signature struct {
	MediaType string // such as SignaturePGP
	Text      string // without white space around it
}

// SignaturePGP is the media type of OpenPGP signatures.
const SignaturePGP = "application/pgp-signature"

// Pieces has a hash for each piece of Length bytes of a file; the last one may
// be shorter.
type Pieces struct {
	Type   string // as the keys of File.Hashes
	Length int64
	Hashes []string // lower-case hex digits
}

// URL is a mirror or a torrent.
type URL struct {
	// URL is absolute, of the schemes http, https or ftp.
	URL string
	// Priority is in the sense of version 4: 1 to LowestPriority, lower is
	// better. Zero, which writers take for LowestPriority, is never parsed.
	Priority int
	// Location is a country in lower case, or a word of the operator's, such
	// as "internal". Empty means anywhere.
	Location string
	// Type is the URL's scheme for a mirror and "torrent" for a torrent.
	// Writers use it for version 3's type of a mirror; empty means the scheme.
	Type string
	// MaxConnections is how many connections at once the mirror allows; zero
	// means that nothing is said. Version 4 cannot express it.
	MaxConnections int
	// Name is a torrent's path of this file within it, when it is given.
	// Version 3 cannot express it.
	Name string
}

// LowestPriority is the priority of a URL for which none is given.
const LowestPriority = 999_999

// Priority turns a version 3 preference (1 to 100, higher is better) into a
// version 4 priority, as aria2 does. Everything else means LowestPriority.
func Priority(preference int) int {
	if preference < 1 || preference > 100 {
		return LowestPriority
	}
	return 101 - preference
}

// Preference is the reverse of Priority. It is zero, which means that none is
// to be written, where version 3 has no preference for the priority.
func Preference(priority int) int {
	if priority < 1 || priority > 100 {
		return 0
	}
	return 101 - priority
}

// Tiers groups the http and https mirrors by priority, best first. Within a
// tier they keep the document's order.
func (f *File) Tiers() [][]URL {
	var urls []URL
	for _, u := range f.URLs {
		if s := scheme(u.URL); s == "http" || s == "https" {
			urls = append(urls, u)
		}
	}
	slices.SortStableFunc(urls, func(a, b URL) int { return cmp.Compare(a.priority(), b.priority()) })
	var tiers [][]URL
	for i, u := range urls {
		if i == 0 || u.priority() != urls[i-1].priority() {
			tiers = append(tiers, nil)
		}
		last := len(tiers) - 1
		tiers[last] = append(tiers[last], u)
	}
	return tiers
}

func (u URL) priority() int {
	if u.Priority < 1 || u.Priority > LowestPriority {
		return LowestPriority
	}
	return u.Priority
}
