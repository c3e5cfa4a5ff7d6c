package wire

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// input is a buffered stream whose buffer follows the stream's pace: it begins
// with a few KiB, doubles while single reads fill it, and shrinks again when
// they bring little, so that an idle connection costs little memory and a busy
// one few system calls.
type input struct {
	r       io.Reader
	raw     *rawReader // set when r can be read from by system calls
	dl      deadliner
	timeout time.Duration
	buf     []byte
	lo, hi  int // buf[lo:hi] is unread
	max     int
	small   int // reads in a row that brought little
	total   atomic.Int64
}

// shrinkAfter is the number of small reads in a row after which the buffer is halved.
const shrinkAfter = 32

func newInput(r io.Reader, limit int, timeout time.Duration) *input {
	if limit <= 0 {
		limit = DefaultReadBuffer
	}
	in := &input{r: r, raw: newRawReader(r), max: max(limit, MinReadBuffer), timeout: timeout}
	if timeout > 0 {
		in.dl, _ = r.(deadliner)
	}
	return in
}

func (in *input) buffered() int { return in.hi - in.lo }

// peek returns the next n bytes, n at most in.max, without consuming them. It
// returns io.EOF only when the stream ended before the first of them.
func (in *input) peek(n int) ([]byte, error) {
	for in.hi-in.lo < n {
		if err := in.more(n); err != nil {
			if errors.Is(err, io.EOF) && in.hi > in.lo {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return in.buf[in.lo : in.lo+n], nil
}

func (in *input) advance(n int) { in.lo += n }

// more reads once, after making room for at least n unread bytes in all.
func (in *input) more(n int) error {
	if in.lo == in.hi {
		in.lo, in.hi = 0, 0
		if in.small >= shrinkAfter && n <= len(in.buf)/2 {
			in.small = 0
			in.resize(max(len(in.buf)/2, MinReadBuffer))
		}
	}
	if in.lo+n > len(in.buf) || in.hi == len(in.buf) {
		in.room(n)
	}
	free := len(in.buf) - in.hi
	got, err := in.read(in.buf[in.hi:], nil, n-(in.hi-in.lo))
	in.hi += got
	in.adapt(got, free)
	if got > 0 {
		return nil
	}
	return err
}

// room moves the unread bytes to the front, in a larger buffer when n needs it.
func (in *input) room(n int) {
	size := max(len(in.buf), MinReadBuffer)
	for size < n {
		size *= 2
	}
	in.resize(min(size, max(in.max, n)))
}

func (in *input) resize(size int) {
	old := in.buf[in.lo:in.hi]
	if size != len(in.buf) {
		in.buf = make([]byte, size)
	}
	in.lo, in.hi = 0, copy(in.buf, old)
}

// adapt grows the buffer after a read that filled it, and counts those that
// brought little, of the free bytes there were.
func (in *input) adapt(got, free int) {
	size := len(in.buf)
	switch {
	case got == free && free >= size/2 && size < in.max && in.raw == nil:
		in.small = 0
		in.resize(min(size*2, in.max))
	case got > size/8 || size <= MinReadBuffer:
		in.small = 0
	default:
		in.small++
	}
}

// read is one read of the stream to b, and of what follows to after where the
// stream can do that, with the time-out. It may wait until need bytes are there.
// It retries reads that bring nothing, a few times.
func (in *input) read(b, after []byte, need int) (int, error) {
	if in.dl != nil {
		if err := in.dl.SetReadDeadline(time.Now().Add(in.timeout)); err != nil {
			return 0, err
		}
	}
	if in.raw != nil {
		n, err := in.raw.read(b, after, need)
		in.total.Add(int64(n))
		return n, err
	}
	for range 16 {
		n, err := in.r.Read(b)
		in.total.Add(int64(n))
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// fill reads exactly len(dst) bytes. What is not buffered yet and is long
// comes straight from the stream, without a copy. Bytes are added to count as
// they arrive.
func (in *input) fill(dst []byte, count *atomic.Int64) error {
	for len(dst) > 0 {
		n := copy(dst, in.buf[in.lo:in.hi])
		in.lo += n
		if n == 0 {
			var err error
			switch {
			case in.raw != nil:
				n, err = in.beyond(dst)
			case len(dst) >= in.direct():
				n, err = in.read(dst, nil, len(dst))
			default:
				err = in.more(1)
			}
			if n == 0 && err != nil {
				return unexpected(err)
			}
		}
		count.Add(int64(n))
		dst = dst[n:]
	}
	return nil
}

// beyond reads the rest of a block to dst and what comes after it to the buffer,
// which is empty, in one system call.
func (in *input) beyond(dst []byte) (int, error) {
	if len(in.buf) == 0 {
		in.resize(MinReadBuffer)
	}
	in.lo, in.hi = 0, 0
	n, err := in.read(dst, in.buf, len(dst))
	if n <= len(dst) {
		return n, err
	}
	in.hi = n - len(dst)
	if in.hi == len(in.buf) && len(dst) <= DefaultBlock {
		// Short blocks come faster than they are taken: several in one call, and
		// copied, are cheaper than a call for each.
		in.resize(min(2*len(in.buf), in.max))
	}
	return len(dst), err
}

// direct is the length from which on a block's rest is read past the buffer.
// Below, a read into the buffer brings the following messages too.
func (in *input) direct() int { return max(len(in.buf)/2, MinReadBuffer) }
