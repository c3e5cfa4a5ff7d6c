package manifest

import (
	"encoding/binary"
	"fmt"
)

// Bounds of several bundles in one blob.
const (
	// MaxBundles is the longest blob, in bytes: one bundle of any size fits.
	MaxBundles = MaxBundle + 1<<20
	// maxBundles is how many there may be, with the packs.
	maxBundles = 64
)

// EncodeBundles puts bundles into one blob, each behind its length (4 bytes, big
// endian). Releases of several channels can have the same content, and so the
// same torrent, of which peers ask for the documents. Packs come last: who does
// not know of them has found its bundle before. Those that do not fit any more
// are left out.
func EncodeBundles(bundles []*Bundle, packs ...*Pack) ([]byte, error) {
	var out []byte
	parts := 0
	add := func(data []byte) bool {
		if parts == maxBundles || len(out)+4+len(data) > MaxBundles {
			return false
		}
		parts++
		out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
		out = append(out, data...)
		return true
	}
	for _, b := range bundles[:min(len(bundles), maxBundles)] {
		data, err := b.Encode()
		if err != nil {
			return nil, err
		}
		if !add(data) {
			break
		}
	}
	for _, p := range packs {
		data, err := p.encode()
		if err != nil {
			return nil, err
		}
		if !add(data) {
			break
		}
	}
	return out, nil
}

// SplitBundles takes apart what EncodeBundles has put together, without reading
// the bundles and packs: each may be another peer's lie. Errors wrap ErrMalformed.
func SplitBundles(data []byte) ([][]byte, error) {
	var out [][]byte
	for len(data) > 0 {
		if len(out) == maxBundles {
			return nil, fmt.Errorf("bundles: %w: more than %d", ErrMalformed, maxBundles)
		}
		if len(data) < 4 {
			return nil, fmt.Errorf("bundles: %w: %d bytes where a length should be", ErrMalformed, len(data))
		}
		n := binary.BigEndian.Uint32(data)
		if data = data[4:]; uint64(n) > uint64(len(data)) {
			return nil, fmt.Errorf("bundles: %w: a bundle of %d bytes has only %d", ErrMalformed, n, len(data))
		}
		out = append(out, data[:n:n])
		data = data[n:]
	}
	return out, nil
}
