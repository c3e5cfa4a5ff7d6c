package pieces

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"distd/pkg/swarm/bitmap"
)

// The progress record, version 1: recordMagic; the identity of release and
// layout, 32 bytes; the number of pieces and the number of stamps, 4 bytes each,
// big-endian; the bitfield of the finished pieces; the stamps, 8 bytes each; and
// the SHA-256 of all of that. There are as many stamps as files when the store
// is read-only, and else none.
const recordMagic = "distd progress 1\n"

const recordHead = len(recordMagic) + 32 + 8

// errRecord is a record that is torn, damaged, or of another release.
var errRecord = errors.New("record is damaged or not of this release")

func encodeRecord(id [32]byte, have *bitmap.Bitmap, stamps []uint64) []byte {
	b := append(make([]byte, 0, recordLen(have.Len(), len(stamps))), recordMagic...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(have.Len()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(stamps)))
	b = have.AppendBytes(b)
	for _, s := range stamps {
		b = binary.BigEndian.AppendUint64(b, s)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func recordLen(pieces, stamps int) int {
	return recordHead + bitmap.ByteLen(pieces) + 8*stamps + sha256.Size
}

// decodeRecord reads a record of the release id with that many pieces and
// stamps, or returns errRecord.
func decodeRecord(b []byte, id [32]byte, pieces, stamps int) (*bitmap.Bitmap, []uint64, error) {
	if len(b) != recordLen(pieces, stamps) {
		return nil, nil, errRecord
	}
	body := b[:len(b)-sha256.Size]
	sum := sha256.Sum256(body)
	head := encodeRecord(id, bitmap.New(pieces), make([]uint64, stamps))[:recordHead]
	if string(sum[:]) != string(b[len(body):]) || string(head) != string(b[:recordHead]) {
		return nil, nil, errRecord
	}
	body = body[recordHead:]
	have, err := bitmap.FromBytes(body[:bitmap.ByteLen(pieces)], pieces)
	if err != nil {
		return nil, nil, errRecord
	}
	body = body[bitmap.ByteLen(pieces):]
	out := make([]uint64, stamps)
	for i := range out {
		out[i] = binary.BigEndian.Uint64(body[8*i:])
	}
	return have, out, nil
}

// stamps gives each file a number that changes when the file does; 0 stands
// for a missing one.
func stamps(infos []fs.FileInfo) []uint64 {
	out := make([]uint64, len(infos))
	for i, info := range infos {
		if info == nil {
			continue
		}
		h := fnv.New64a()
		for _, v := range stampOf(info) {
			_ = binary.Write(h, binary.BigEndian, v)
		}
		out[i] = max(h.Sum64(), 1)
	}
	return out
}

// Recorded reads which pieces the record of a closed store vouches for: of c are
// used Layout, Identity and ProgressFile.
func Recorded(c Config) (*bitmap.Bitmap, error) {
	have, _, err := readRecord(c.ProgressFile, identity(c.Identity, c.Layout), c.Layout.NumPieces(), 0)
	if err != nil {
		return nil, fmt.Errorf("progress record %s: %w", c.ProgressFile, err)
	}
	return have, nil
}

// readRecord reads the record at path. It reads no more than a whole one has.
func readRecord(path string, id [32]byte, pieces, stamps int) (*bitmap.Bitmap, []uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, int64(recordLen(pieces, stamps))+1))
	if err != nil {
		return nil, nil, err
	}
	return decodeRecord(b, id, pieces, stamps)
}

// writeRecord replaces the record at path so that at every moment, also after
// a power cut, the old one or the new one is there.
func writeRecord(path string, record []byte) error {
	if err := replace(path, record); err != nil {
		return fmt.Errorf("record progress in %s: %w", path, explain(err))
	}
	return nil
}

func replace(path string, b []byte) (err error) {
	// A fixed name, so that crashes leave one such file behind and not many.
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}
