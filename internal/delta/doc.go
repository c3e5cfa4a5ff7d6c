// Package delta makes and applies delta packs: the bytes of a release that an
// earlier one, its base, does not have, and how the files that differ are put
// together from both.
//
// A pack is one stream, which is applied as it is read:
//
//	magic      16 bytes: "distd delta 1\n", a byte for the method (0 plain, 1
//	           zstd), a zero byte; the rest is compressed by that method
//	file       uvarint: by how much its index in the new release's layout is
//	           above that of the file before (1 to begin with index 0); 0 ends
//	           the stream
//	operations until the file has the size that the manifest says:
//	           uvarint length<<2 | kind
//	           kind 0: that many bytes follow
//	           kind 1: uvarint index of a file of the base, uvarint offset in it
//	           kind 2: the same of a file that this pack has built before
//
// Nothing in a pack is trusted. Its files and their sizes are those of the
// signed manifest, each is checked against its SHA-256 there, and no number of
// the stream is used to allocate anything.
//
// Files that both releases have need no place in a pack. Of larger files the
// publisher keeps the hashes of content-defined chunks, an Index, so that the
// base need not be read again.
//
// The package does no I/O but through what is handed in, and starts no
// goroutines.
package delta

import "errors"

// ErrMalformed says that a pack or an index is not one.
var ErrMalformed = errors.New("malformed")

// File is a regular file of a release. Files stand in the order of the
// release's layout.
type File struct {
	Size   int64
	SHA256 [32]byte
}

const (
	magic     = "distd delta 1\n"
	headerLen = len(magic) + 2

	methodPlain = 0
	methodZstd  = 1

	opLiteral = 0
	opBase    = 1
	opOwn     = 2

	// window is the largest zstd window, in bytes: what reading a pack takes.
	window = 8 << 20
)

// maxOps is how many operations a file may be made of. Those that Plan makes
// are fewer, since no chunk is shorter than minChunk.
func maxOps(size int64) int64 { return 64 + size/512 }
