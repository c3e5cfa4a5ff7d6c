package delta

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Target is where files are built.
type Target interface {
	Sources
	// Wanted says whether a file is missing. The bytes of others are passed over.
	Wanted(file int) bool
	// Begin begins a wanted file. Its bytes are written in order; then it is kept,
	// or dropped. ReadNew is asked for kept ones only.
	Begin(file int) (Building, error)
}

// Building is a file that is being built. One of its methods Keep and Drop is
// called at the end.
type Building interface {
	io.Writer
	Keep() error
	Drop()
}

// Built is what applying a pack has given.
type Built struct {
	Files []int // that were built and verified, by index
	Bad   []int // that came out other than the manifest says, or could not be made
	Bytes int64 // of Files
	// Why is the reason for the first of Bad.
	Why error
}

// Apply builds files of the new release from a pack and its base. Each is kept
// only when it has the SHA-256 that it shall have. A pack that is malformed, or
// ends early, is ErrMalformed; what was built until then counts. Other errors
// are those of reading the pack, of the target's Building, and of ctx.
func Apply(ctx context.Context, pack io.Reader, base, files []File, t Target) (*Built, error) {
	a := &applier{ctx: ctx, base: base, files: files, t: t, sum: sha256.New(), buf: make([]byte, 256<<10), built: make([]bool, len(files))}
	body, done, err := open(pack)
	if err != nil {
		return &a.Built, fmt.Errorf("delta pack: %w", err)
	}
	defer done()
	a.r = bufio.NewReaderSize(body, 256<<10)
	if err := a.run(); err != nil {
		return &a.Built, fmt.Errorf("delta pack: %w", err)
	}
	return &a.Built, nil
}

func open(pack io.Reader) (io.Reader, func(), error) {
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(pack, head); err != nil {
		return nil, nil, broken(err)
	}
	if string(head[:len(magic)]) != magic || head[len(magic)+1] != 0 {
		return nil, nil, fmt.Errorf("%w: it does not begin like one", ErrMalformed)
	}
	switch head[len(magic)] {
	case methodPlain:
		return pack, func() {}, nil
	case methodZstd:
		z, err := zstd.NewReader(pack, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, fmt.Errorf("%w: method %d is not known", ErrMalformed, head[len(magic)])
}

// applier is one run of Apply.
type applier struct {
	Built
	ctx         context.Context
	base, files []File
	t           Target
	r           *bufio.Reader
	sum         hash.Hash
	buf         []byte
	built       []bool

	// Of the file under way: out is nil when it is passed over, and bad is why it
	// cannot be built.
	out Building
	bad error
}

func (a *applier) run() error {
	last := -1
	for {
		step, err := a.uvarint(uint64(len(a.files)))
		if err != nil {
			return err
		}
		if step == 0 {
			return a.end()
		}
		last += int(step)
		if last >= len(a.files) {
			return fmt.Errorf("%w: there is no file %d", ErrMalformed, last)
		}
		if err := a.file(last); err != nil {
			return err
		}
	}
}

// end refuses bytes behind the end.
func (a *applier) end() error {
	switch _, err := a.r.ReadByte(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return broken(err)
	}
	return fmt.Errorf("%w: there are bytes behind its end", ErrMalformed)
}

func (a *applier) file(i int) (err error) {
	a.out, a.bad = nil, nil
	if a.t.Wanted(i) {
		if a.out, err = a.t.Begin(i); err != nil {
			return fmt.Errorf("build file %d: %w", i, err)
		}
	}
	a.sum.Reset()
	if err := a.operations(a.files[i].Size); err != nil {
		if a.out != nil {
			a.out.Drop()
		}
		return err
	}
	switch {
	case a.out == nil:
		return nil
	case a.bad == nil && [32]byte(a.sum.Sum(nil)) != a.files[i].SHA256:
		a.bad = errors.New("its SHA-256 is not that of the manifest")
	}
	if a.bad != nil {
		a.out.Drop()
		if a.Bad = append(a.Bad, i); a.Why == nil {
			a.Why = fmt.Errorf("file %d: %w", i, a.bad)
		}
		return nil
	}
	if err := a.out.Keep(); err != nil {
		return fmt.Errorf("build file %d: %w", i, err)
	}
	a.built[i] = true
	a.Files, a.Bytes = append(a.Files, i), a.Bytes+a.files[i].Size
	return nil
}

// operations carries out those of a file of size bytes.
func (a *applier) operations(size int64) error {
	for ops := maxOps(size); size > 0; ops-- {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		word, err := a.uvarint(uint64(size)<<2 | 3)
		if err != nil {
			return err
		}
		n := int64(word >> 2)
		if n == 0 || ops == 0 {
			return fmt.Errorf("%w: an operation without bytes, or too many of them", ErrMalformed)
		}
		switch word & 3 {
		case opLiteral:
			err = a.literal(n)
		case opBase:
			err = a.copy(n, a.base, a.t.ReadBase, nil)
		case opOwn:
			err = a.copy(n, a.files, a.t.ReadNew, a.built)
		default:
			err = fmt.Errorf("%w: an operation that is not known", ErrMalformed)
		}
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func (a *applier) literal(n int64) error {
	for n > 0 {
		b := a.buf[:min(n, int64(len(a.buf)))]
		if _, err := io.ReadFull(a.r, b); err != nil {
			return broken(err)
		}
		if err := a.write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// copy takes n bytes of a file; of those in only, when it is not nil. That the
// file cannot be read is no fault of the pack's.
func (a *applier) copy(n int64, of []File, read func(int, []byte, int64) error, only []bool) error {
	src, err := a.uvarint(uint64(len(of)))
	if err != nil {
		return err
	}
	at, err := a.uvarint(1 << 62)
	if err != nil {
		return err
	}
	file, off := int(src), int64(at)
	if file >= len(of) || off > of[file].Size-n {
		return fmt.Errorf("%w: it copies what is not there", ErrMalformed)
	}
	if a.out == nil || a.bad != nil {
		return nil
	}
	if only != nil && !only[file] && a.t.Wanted(file) {
		a.bad = fmt.Errorf("it is a copy of file %d, which is not there", file)
		return nil
	}
	for n > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		b := a.buf[:min(n, int64(len(a.buf)))]
		if err := read(file, b, off); err != nil {
			a.bad = err
			return nil
		}
		if err := a.write(b); err != nil {
			return err
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}

func (a *applier) write(b []byte) error {
	if a.out == nil || a.bad != nil {
		return nil
	}
	_, _ = a.sum.Write(b) // hashes do not fail
	_, err := a.out.Write(b)
	return err
}

// uvarint reads a number up to limit.
func (a *applier) uvarint(limit uint64) (uint64, error) {
	v, err := binary.ReadUvarint(a.r)
	if err != nil {
		return 0, broken(err)
	}
	if v > limit {
		return 0, fmt.Errorf("%w: %d is more than %d", ErrMalformed, v, limit)
	}
	return v, nil
}

// broken says of an error of reading that the pack is at fault, unless the disk is.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
