// Package manifest defines the signed description of a release, the signed
// pointer to a channel's newest release, and the keys that sign them.
//
// Both are JSON in the canonical form of RFC 8785 (keys sorted, no white
// space), so that a release has exactly one encoding and its SHA-256 can serve
// as its name. Signatures are minisign's: the stock "minisign -V" verifies
// them. What comes from elsewhere goes through Open and OpenPointer, which
// check the signature before they parse, and refuse anything but the canonical
// form of a release that keeps all rules. The package starts no goroutines.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
)

// Format is the version of the manifest's and the pointer's format.
const Format = 1

// Bounds of what is read from elsewhere, in bytes, and of what it may hold.
const (
	MaxManifest  = 64 << 20
	MaxPointer   = 64 << 10
	MaxSignature = 4 << 10

	MaxEntries = 1 << 20 // files, symlinks and folders of a release
	MaxMirrors = 100

	// MaxSerial keeps serials exact in readers that hold numbers as float64.
	MaxSerial = 1 << 53

	// A piece length is a power of two between these.
	MinPieceLength = 1 << 10
	MaxPieceLength = 64 << 20
)

// Modification times, in Unix seconds, that a manifest can hold: the years 1
// to 9999.
const (
	MinMTime = -62135596800
	MaxMTime = 253402300799
)

// Kind says what a release is.
type Kind string

// The kinds of release.
const (
	KindFile Kind = "file" // one file, called like the release
	KindTree Kind = "tree" // a folder, called like the release
)

// Errors that callers tell apart. They are wrapped in messages that say what
// exactly is wrong.
var (
	ErrSignature = errors.New("signature is not valid")
	ErrKey       = errors.New("signed by another key")
	ErrMalformed = errors.New("malformed")
)

// Manifest describes one release. The fields of this and the other structs
// stand in the order of their JSON keys: that is what makes encoding/json
// write them sorted.
type Manifest struct {
	Channel string    `json:"channel"`
	Created time.Time `json:"created"` // UTC, whole seconds
	// Deltas are the delta packs that the release has, sorted by base.
	Deltas []Delta `json:"deltas,omitempty"`
	// Dirs are the folders of a tree with their modes, sorted by path; "." is
	// the tree's root. Folders above files may be left out.
	Dirs    []Dir     `json:"dirs,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	// Files are sorted by path (as bytes). Those that are neither symlinks nor
	// hard links are the files of the torrent, in this order where Order says
	// no other.
	Files    []File   `json:"files"`
	Format   int      `json:"format"`
	InfoHash string   `json:"infohash"` // of the v1 torrent, 40 hex digits
	Kind     Kind     `json:"kind"`
	Mirrors  []Mirror `json:"mirrors,omitempty"`
	Name     string   `json:"name"`
	// Order is how the torrent's files lie where it is not as in Files; see Regular.
	Order []byte `json:"order,omitempty"`
	// PieceLength is in bytes.
	PieceLength int64 `json:"piece_length"`
	// Pieces holds the SHA-256 of each piece, 32 bytes each, one behind the
	// other.
	Pieces []byte `json:"pieces"`
	Serial uint64 `json:"serial"`
	Size   int64  `json:"size"` // bytes of all files
}

// File is a file or symlink of a release, or a further name of one of its files.
type File struct {
	// Hardlink is, for a further name of a file, the path of the first one: an
	// entry with bytes of its own. Size, mode, time and sums are those of that
	// entry, and its bytes are in the torrent once.
	Hardlink string `json:"hardlink,omitempty"`

	MD5   string `json:"md5,omitempty"` // 32 hex digits, optional
	Mode  uint32 `json:"mode"`          // permission bits; 0 for a symlink
	MTime int64  `json:"mtime"`         // Unix seconds
	// Path is slash-separated and relative to the tree's root; in a release
	// of a single file it is the release's name.
	Path   string `json:"path"`
	SHA256 string `json:"sha256,omitempty"` // 64 hex digits; none for a symlink
	Size   int64  `json:"size"`             // bytes; 0 for a symlink
	// Symlink is a symlink's target, relative and inside the tree; "" for
	// files.
	Symlink string `json:"symlink,omitempty"`
}

// InTorrent says whether the entry is a file with bytes of its own, which
// neither symlinks nor hard links have.
func (f *File) InTorrent() bool { return f.Symlink == "" && f.Hardlink == "" }

// Dir is a folder of a tree.
type Dir struct {
	Mode  uint32 `json:"mode"`  // permission bits
	MTime int64  `json:"mtime"` // Unix seconds
	Path  string `json:"path"`  // relative to the tree's root, which is "."
}

// Mirror is an HTTP(S) source of the release's bytes.
type Mirror struct {
	Location   string `json:"location,omitempty"`
	Preference int    `json:"preference"` // 1..100, higher is tried earlier
	// URL is where the content lies: that of the file, or for a tree that of
	// its folder, with a slash at the end; paths of files are appended to it.
	URL string `json:"url"`
}

// Pointer says which release of a channel is the newest.
type Pointer struct {
	Channel  string    `json:"channel"`
	Created  time.Time `json:"created"`          // UTC, whole seconds
	Expires  time.Time `json:"expires,omitzero"` // zero: never
	Format   int       `json:"format"`
	InfoHash string    `json:"infohash"`
	Manifest string    `json:"manifest"` // the release's ID
	Name     string    `json:"name"`
	Serial   uint64    `json:"serial"`
}

// ID returns the name of the release that data is the encoded manifest of: its
// SHA-256 as 64 hex digits.
func ID(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ValidID says whether s has the form of a release's ID.
func ValidID(s string) bool { return isHex(s, sha256.Size) }

// ContentPath returns the path below the content root of a path of Files or
// Dirs: "NAME" or "NAME/path".
func (m *Manifest) ContentPath(path string) string {
	if m.Kind == KindFile || path == "." {
		return m.Name
	}
	return m.Name + "/" + path
}

// FileIndex returns the index in Files of a path, -1 when there is none.
func (m *Manifest) FileIndex(path string) int {
	i, ok := slices.BinarySearchFunc(m.Files, path, func(f File, p string) int { return strings.Compare(f.Path, p) })
	if !ok {
		return -1
	}
	return i
}

// PieceHash returns the SHA-256 of piece i.
func (m *Manifest) PieceHash(i int) [sha256.Size]byte {
	return [sha256.Size]byte(m.Pieces[i*sha256.Size:])
}

// Expired says whether the release has an end and now is behind it.
func (m *Manifest) Expired(now time.Time) bool {
	return !m.Expires.IsZero() && now.After(m.Expires)
}

// SameContent says whether two releases have the same name and content.
// Modification times do not count, as they differ from build to build.
func (m *Manifest) SameContent(o *Manifest) bool {
	return m.Kind == o.Kind && m.Name == o.Name &&
		slices.EqualFunc(m.Files, o.Files, func(x, y File) bool {
			return x.Path == y.Path && x.Mode == y.Mode && x.SHA256 == y.SHA256 && x.Symlink == y.Symlink && x.Hardlink == y.Hardlink
		}) &&
		slices.EqualFunc(m.Dirs, o.Dirs, func(x, y Dir) bool { return x.Path == y.Path && x.Mode == y.Mode })
}

// LinkedBeside returns what of the release's hard links another one can have as
// well: for each path that is in both, and is a name of the same file as an
// earlier path that is in both, the first of those. Two releases link the same
// of their common paths when what they return is equal.
func (m *Manifest) LinkedBeside(o *Manifest) map[string]string {
	out, first := map[string]string{}, map[string]string{}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Hardlink == "" || o.FileIndex(f.Path) < 0 {
			continue
		}
		as, ok := first[f.Hardlink]
		switch {
		case ok:
		case o.FileIndex(f.Hardlink) >= 0:
			as = f.Hardlink
		default:
			as = f.Path
		}
		if first[f.Hardlink] = as; as != f.Path {
			out[f.Path] = as
		}
	}
	return out
}

// Pointer returns the pointer to the release, whose ID is id.
func (m *Manifest) Pointer(id string) *Pointer {
	return &Pointer{
		Channel: m.Channel, Created: m.Created, Expires: m.Expires, Format: Format,
		InfoHash: m.InfoHash, Manifest: id, Name: m.Name, Serial: m.Serial,
	}
}

// FileURL returns the URL of the release's file at the path (as in Files).
func (r Mirror) FileURL(kind Kind, path string) string {
	if kind == KindFile {
		return r.URL
	}
	return r.URL + EscapePath(path)
}

// EscapePath returns the slash-separated path as part of a URL: everything but
// letters, digits, "-._~" and the slashes is percent-encoded.
func EscapePath(path string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func isHex(s string, bytes int) bool {
	if len(s) != 2*bytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
