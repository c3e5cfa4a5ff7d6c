package delta

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrTooLarge says that a pack would be larger than it may be.
var ErrTooLarge = errors.New("the pack would save too little")

// Spec says what a pack is made from.
type Spec struct {
	Base, New []File
	// Old and Fresh are the chunks of both; without them large files that have
	// changed are taken as a whole.
	Old, Fresh *Index
	Sources    Sources
	// Limit is how long the pack may be, in bytes.
	Limit int64
}

// Output is where a pack is written to, from its beginning.
type Output interface {
	io.Writer
	io.Seeker
	Truncate(size int64) error
}

// Make writes a pack and returns its length. ErrTooLarge when it would be longer
// than the limit, or saves nothing; what is in out counts for nothing then. The same content always
// gives the same pack.
func Make(ctx context.Context, out Output, s Spec) (int64, error) {
	p := makePlan(s.Base, s.New, s.Old, s.Fresh)
	if err := p.extend(s.Sources, s.Base); err != nil {
		return 0, err
	}
	p.count()
	if p.literal == 0 && len(p.recipes) == 0 {
		return 0, ErrTooLarge // there is nothing to fetch
	}
	n, err := p.write(ctx, out, s, methodZstd)
	// Plain is smaller only for bytes that do not compress at all.
	if err == nil && n > p.literal || errors.Is(err, ErrTooLarge) && p.literal < s.Limit {
		plain, perr := p.write(ctx, out, s, methodPlain)
		if err == nil && perr == nil && plain > n {
			plain, perr = p.write(ctx, out, s, methodZstd)
		}
		return plain, perr
	}
	return n, err
}

// sample is the number of literal bytes after which it can be said how well they
// compress: a pack that would be too large is given up then.
const sample = 64 << 20

// write writes the whole pack by one method.
func (p *plan) write(ctx context.Context, out Output, s Spec, method byte) (int64, error) {
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if err := out.Truncate(0); err != nil {
		return 0, err
	}
	c := &capped{w: out, left: s.Limit}
	if _, err := c.Write(append([]byte(magic), method, 0)); err != nil {
		return 0, err
	}
	var body io.Writer = c
	closeBody := func() error { return nil }
	if method == methodZstd {
		z, err := zstd.NewWriter(c, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderCRC(false))
		if err != nil {
			return 0, err
		}
		body, closeBody = z, z.Close
	}
	w := bufio.NewWriterSize(body, 256<<10)
	err := p.encode(ctx, w, s.Sources, func(raw int64) error {
		if raw > sample && float64(s.Limit-c.left)/float64(raw)*float64(p.literal) > 1.1*float64(s.Limit) {
			return ErrTooLarge
		}
		return nil
	})
	if err == nil {
		err = w.Flush()
	}
	if cerr := closeBody(); err == nil {
		err = cerr
	}
	return s.Limit - c.left, err
}

func (p *plan) encode(ctx context.Context, w *bufio.Writer, s Sources, look func(raw int64) error) error {
	var head []byte
	raw := int64(0)
	buf := make([]byte, 256<<10)
	last := -1
	for _, r := range p.recipes {
		head = binary.AppendUvarint(head[:0], uint64(r.file-last))
		last = r.file
		for _, o := range r.ops {
			if err := ctx.Err(); err != nil {
				return err
			}
			head = binary.AppendUvarint(head, uint64(o.n)<<2|uint64(o.kind))
			if o.kind != opLiteral {
				head = binary.AppendUvarint(head, uint64(o.src))
				head = binary.AppendUvarint(head, uint64(o.off))
			}
			_, _ = w.Write(head) // Flush says whether it failed
			head = head[:0]
			for off, n := o.off, o.n; o.kind == opLiteral && n > 0; {
				b := buf[:min(n, int64(len(buf)))]
				if err := s.ReadNew(r.file, b, off); err != nil {
					return fmt.Errorf("read file %d of the release: %w", r.file, err)
				}
				if _, err := w.Write(b); err != nil {
					return err
				}
				raw += int64(len(b))
				if err := errors.Join(look(raw), ctx.Err()); err != nil {
					return err
				}
				off, n = off+int64(len(b)), n-int64(len(b))
			}
		}
	}
	return w.WriteByte(0)
}

// capped refuses what is too much.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, ErrTooLarge
	}
	n, err := c.w.Write(p)
	c.left -= int64(n)
	return n, err
}
