// Package torrentfile reads and makes v1 metainfo, the content of .torrent
// files (BEP 3, with BEP 12 tracker tiers, BEP 19 web seeds, BEP 27 private
// torrents and the padding files of BEP 47).
//
// Parse is the gate through which every foreign torrent comes: what it accepts
// has sane lengths, as many piece hashes as its length needs, and names that
// obey the rules of releases. Everything is bounded before it is allocated, and
// no input panics. Of a hybrid torrent (BEP 52) the v1 part is read; one that
// is only v2 is refused.
//
// The package has no goroutines and does no I/O.
package torrentfile

import (
	"crypto/sha1"
	"time"

	"distd/internal/layout"
)

// Bounds of what Parse accepts.
const (
	MaxSize        = 64 << 20 // bytes of a .torrent
	MaxFiles       = 1 << 20
	MinPieceLength = 1 << 10
	MaxPieceLength = 64 << 20
	// MaxURLs bounds the trackers, and the web seeds, of a torrent.
	MaxURLs = 1000
	// MaxURLLength is in bytes. Longer URLs are not taken over.
	MaxURLLength = 2048
)

// HashSize is the size of a piece's SHA-1 hash in bytes.
const HashSize = sha1.Size

// Torrent is the content of a .torrent. Everything that the infohash covers
// (Name, Tree, Layout, Pieces, Padding, Private, Source) comes from InfoBytes and must not be
// changed; the other fields may be, before Encode.
type Torrent struct {
	// Name is the file's name, or that of the folder when Tree is set.
	Name string
	Tree bool
	// Layout has the files in torrent order. Their paths begin with Name.
	Layout *layout.Layout
	// Pieces is the SHA-1 of each piece, HashSize bytes each, one behind the
	// other; empty for a torrent without bytes.
	Pieces []byte
	// Padding says for each of Layout.Files whether it is a padding file:
	// zeros that are not to be written to disk nor asked for. It is nil when
	// there are none. Two padding files may have the same path.
	Padding []bool
	Private bool
	// Source is the text under "source", by which some sites make a torrent of
	// the same content another one; usually "".
	Source string

	// InfoBytes is the bencoded info dictionary as it was found, and
	// InfoHash its SHA-1.
	InfoBytes []byte
	InfoHash  [sha1.Size]byte

	// Announce has the tracker URLs (http, https, udp) in tiers, best first.
	Announce [][]string
	// FirstTracker is what Encode writes for clients that know no tiers, when
	// that is not the first of Announce. Parse leaves it empty.
	FirstTracker string
	// WebSeeds has the URLs (http, https) of BEP 19, HTTPSeeds those of its
	// forerunner BEP 17, which few clients read.
	WebSeeds  []string
	HTTPSeeds []string
	Comment   string
	CreatedBy string
	// Created is in UTC and whole seconds. Zero means unknown.
	Created time.Time
	// Extra has the other keys beside "info", with their values in bencoded
	// form. Encode writes them back.
	Extra map[string][]byte
}

// PieceHash is the SHA-1 of piece i.
func (t *Torrent) PieceHash(i int) [HashSize]byte {
	return [HashSize]byte(t.Pieces[i*HashSize:])
}

// Bounds of the piece lengths that PieceLength gives, and the number of pieces
// that it aims at: many enough that a swarm of a farm's size is never short of
// pieces to exchange, few enough that messages about them cost nothing.
const (
	minAutoLength = 16 << 10
	maxAutoLength = 16 << 20
	maxAutoPieces = 4000
)

// PieceLength is the piece length in bytes that suits a release of total
// bytes: the power of two from 16 KiB to 16 MiB that gives 2,000 to 4,000
// pieces, where one does.
func PieceLength(total int64) int64 {
	n := int64(minAutoLength)
	for n < maxAutoLength && total > n*maxAutoPieces {
		n *= 2
	}
	return n
}
