package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Bounds of a Bundle, in bytes.
const (
	// MaxBundle is the longest encoded form. Hashes in base64 make up nearly all
	// of a large manifest, and three quarters of that remain: every one fits.
	MaxBundle = 64 << 20
	// bundleWindow is how far back the compression looks, and what a decoder
	// must hold beside the documents.
	bundleWindow = 4 << 20
)

// bundleMagic begins every bundle; its last byte is the version.
const bundleMagic = "distd\x00B\x01"

// Bundle is what belongs to a release beside its content: all that a node needs
// to trust it. It is what peers hand each other.
type Bundle struct {
	Pointer, PointerSig, Manifest, ManifestSig []byte
	// Item is the channel's signed item as it lies in the DHT; it may be empty.
	Item []byte
}

// document is a part of a bundle with its bounds.
type document struct {
	name     string
	data     *[]byte
	min, max int
}

// documents are the parts in the order of the encoded form.
func (b *Bundle) documents() [5]document {
	return [5]document{
		{"pointer", &b.Pointer, 1, MaxPointer},
		{"pointer's signature", &b.PointerSig, 1, MaxSignature},
		{"manifest's signature", &b.ManifestSig, 1, MaxSignature},
		{"item", &b.Item, 0, MaxItem},
		{"manifest", &b.Manifest, 1, MaxManifest},
	}
}

// check says whether n bytes can be the document.
func (d *document) check(n int64) error {
	if n < int64(d.min) || n > int64(d.max) {
		return fmt.Errorf("%s of %d bytes is not between %d and %d", d.name, n, d.min, d.max)
	}
	return nil
}

// Encode returns the bundle as one blob: 8 bytes of magic and version, the length
// of each document (4 bytes, big-endian; pointer, its signature, the manifest's
// signature, item, manifest), and the documents one behind the other, compressed
// with zstd (RFC 8878).
func (b *Bundle) Encode() ([]byte, error) {
	out := bytes.NewBufferString(bundleMagic)
	docs := b.documents()
	for _, d := range docs {
		if err := d.check(int64(len(*d.data))); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(*d.data))))
	}
	// No checksum, as the documents are signed; and base64 of hashes repeats
	// nothing, but has only 64 characters.
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(bundleWindow), zstd.WithEncoderCRC(false), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	for _, d := range docs {
		if _, err := z.Write(*d.data); err != nil {
			return nil, fmt.Errorf("bundle: %w", errors.Join(err, z.Close()))
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if out.Len() > MaxBundle {
		return nil, fmt.Errorf("bundle: %d bytes are more than %d", out.Len(), MaxBundle)
	}
	return out.Bytes(), nil
}

// DecodeBundle reads what Encode has written. It verifies nothing: that is for
// OpenPointer and Open. Errors wrap ErrMalformed.
func DecodeBundle(data []byte) (*Bundle, error) {
	b, err := decodeBundle(data)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w: %w", ErrMalformed, err)
	}
	return b, nil
}

func decodeBundle(data []byte) (*Bundle, error) {
	b := new(Bundle)
	docs := b.documents()
	version := len(bundleMagic) - 1
	switch head := len(bundleMagic) + 4*len(docs); {
	case len(data) > MaxBundle:
		return nil, fmt.Errorf("%d bytes are more than %d", len(data), MaxBundle)
	case len(data) < head || string(data[:version]) != bundleMagic[:version]:
		return nil, errors.New("it does not begin like one")
	case data[version] != bundleMagic[version]:
		return nil, fmt.Errorf("version %d is not known (this distd reads version %d): update distd", data[version], bundleMagic[version])
	}
	lengths, packed := data[len(bundleMagic):], data[len(bundleMagic)+4*len(docs):]
	total, ends := 0, [len(docs)]int{}
	for i, d := range docs {
		n := binary.BigEndian.Uint32(lengths[4*i:])
		if err := d.check(int64(n)); err != nil {
			return nil, err
		}
		total += int(n)
		ends[i] = total
	}
	all, err := unpack(packed, total)
	if err != nil {
		return nil, err
	}
	for i, d := range docs {
		begin := 0
		if i > 0 {
			begin = ends[i-1]
		}
		*d.data = all[begin:ends[i]:ends[i]]
	}
	return b, nil
}

// unpack decompresses exactly size bytes.
func unpack(packed []byte, size int) ([]byte, error) {
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(bundleWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out := make([]byte, size)
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, fmt.Errorf("%d bytes were announced: %w", size, err)
	}
	switch n, err := z.Read(make([]byte, 1)); {
	case n > 0:
		return nil, fmt.Errorf("it has more than the %d bytes that were announced", size)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("behind the %d bytes that were announced: %w", size, err)
	}
	return out, nil
}
