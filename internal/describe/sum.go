package describe

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"distd/pkg/metalink"
)

// readSize is how many bytes are read at once, and hashed by all digests at
// the same time while the next ones are read.
const readSize = 1 << 20

// ErrChanged says that a file has changed while it was read.
var ErrChanged = errors.New("it changed while it was read")

// sum reads size bytes once for all digests, and puts these into f. read is
// called with the number of bytes of each reading.
func (d Digests) sum(ctx context.Context, r io.Reader, size int64, read func(int), f *metalink.File) error {
	hashes := make([]hash.Hash, len(d.kinds))
	var writers []io.Writer
	for i, k := range d.kinds {
		hashes[i] = k.write()
		writers = append(writers, hashes[i])
	}
	var pieces *pieceWriter
	if d.pieces {
		pieces = newPieceWriter(size)
		writers = append(writers, pieces)
	}
	n, err := spread(ctx, r, min(size+1, readSize), writers, read)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrChanged, n, size)
	}
	f.Size, f.Hashes = size, make(map[string]string, len(hashes))
	for i, h := range hashes {
		f.Hashes[d.kinds[i].iana] = hex.EncodeToString(h.Sum(nil))
	}
	if pieces != nil {
		f.Pieces = pieces.pieces()
	}
	return nil
}

// spread gives all that r has to every writer, and returns how much it was.
// The writers, which never fail, work side by side on one buffer while the
// other is filled.
func spread(ctx context.Context, r io.Reader, bufSize int64, writers []io.Writer, read func(int)) (total int64, err error) {
	buffers := [2][]byte{make([]byte, bufSize), make([]byte, bufSize)}
	var working sync.WaitGroup
	defer working.Wait()
	for i := 0; ; i ^= 1 {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := io.ReadFull(r, buffers[i])
		working.Wait()
		for _, w := range writers {
			working.Go(func() { _, _ = w.Write(buffers[i][:n]) })
		}
		total += int64(n)
		read(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
