// Package shrink makes the documents of a release short for their way: packed
// with zstd (RFC 8878), or as what they have that the same document of another
// release, the base, does not have. That is a zstd frame with the base as raw
// dictionary; `zstd -d --patch-from=BASE` reads it too.
//
// It says nothing about whether a document is the right one: that is for those
// who know its digest.
package shrink

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

const (
	// MaxPair is how large, in bytes, a document and its base may be together.
	// All of both is held in memory, several times over by whoever packs.
	MaxPair = 32 << 20
	// window is how far back a document without a base is looked through.
	window = 4 << 20
	// maxWindow is what a frame may ask for: a base and a document side by side.
	maxWindow = 64 << 20
	// slack is how much longer than the document a frame may be, and the least
	// memory that a decoder can do with.
	slack = 64 << 10
)

// ErrTooLarge says that a document and its base are more than MaxPair.
var ErrTooLarge = errors.New("document and base are too large for a difference")

// Pack returns the document as one zstd frame. With a base, which may be nil,
// it can be read with that base only.
func Pack(doc, base []byte) ([]byte, error) {
	// Base64 of hashes repeats nothing, but has only 64 characters.
	opts := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithAllLitEntropyCompression(true), zstd.WithLowerEncoderMem(true)}
	if base == nil {
		opts = append(opts, zstd.WithWindowSize(window))
	} else {
		if len(doc)+len(base) > MaxPair {
			return nil, fmt.Errorf("pack: %w: %d and %d bytes", ErrTooLarge, len(doc), len(base))
		}
		// All of the base must be in reach at the document's end.
		reach := max(1<<bits.Len(uint(len(doc)+len(base))), zstd.MinWindowSize)
		opts = append(opts, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(reach), zstd.WithEncoderDictRaw(0, base))
	}
	z, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return z.EncodeAll(doc, nil), z.Close()
}

// MaxPacked is how long the packed form of a document of at most limit bytes
// can be.
func MaxPacked(limit int64) int64 { return limit + slack }

// Unpack returns the document, of at most limit bytes. Hardly more than that is
// allocated for it, whatever the data says.
func Unpack(data, base []byte, limit int64) ([]byte, error) {
	opts := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(uint64(max(limit, slack)))}
	if base != nil {
		opts = append(opts, zstd.WithDecoderDictRaw(0, base))
	}
	z, err := zstd.NewReader(nil, opts...)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	defer z.Close()
	doc, err := z.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if int64(len(doc)) > limit {
		return nil, fmt.Errorf("unpack: more than %d bytes", limit)
	}
	return doc, nil
}
