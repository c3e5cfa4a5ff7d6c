package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of how many bytes a socket must hold before its reader is woken. A
// block at 3 Mbit/s comes in a dozen packets, and being woken for each of them
// cost more than everything else that is done with it.
const (
	minLowat = 2 << 10
	maxLowat = 64 << 10
)

// rawReader reads from a plain socket by system calls: to where the bytes
// belong together with what follows them, and not before enough of them are
// there.
type rawReader struct {
	conn syscall.RawConn
	// try is tryRead bound once, so that a read allocates nothing.
	try   func(fd uintptr) bool
	vecs  [2][]byte
	need  int
	lowat int // as the socket has it
	n     int
	err   error
}

// newRawReader returns nil when r is not a plain TCP socket.
func newRawReader(r io.Reader) *rawReader {
	c, ok := r.(*net.TCPConn)
	if !ok {
		return nil
	}
	conn, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	rr := &rawReader{conn: conn, lowat: 1}
	rr.try = rr.tryRead
	return rr
}

// read fills first and then more, in one system call, as far as there are
// bytes. It waits for need of them, but may return fewer. The error at the end of
// the stream is io.EOF.
func (r *rawReader) read(first, more []byte, need int) (int, error) {
	r.vecs, r.need, r.n, r.err = [2][]byte{first, more}, need, 0, nil
	err := r.conn.Read(r.try)
	r.vecs = [2][]byte{}
	if r.err != nil {
		err = r.err
	}
	return r.n, err
}

// tryRead says whether it is done; false waits until the socket is readable.
func (r *rawReader) tryRead(fd uintptr) bool {
	for {
		n, err := r.readv(int(fd))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if !r.wait(int(fd)) {
				continue // more may have come meanwhile
			}
			return false
		case err != nil:
			r.err = fmt.Errorf("read from peer: %w", err)
		case n == 0:
			r.err = io.EOF
		default:
			r.n = n
		}
		return true
	}
}

func (r *rawReader) readv(fd int) (int, error) {
	if len(r.vecs[1]) == 0 {
		return unix.Read(fd, r.vecs[0])
	}
	return unix.Readv(fd, r.vecs[:])
}

// wait makes the socket readable only once what is needed is there. It reports
// false when that has just been changed.
func (r *rawReader) wait(fd int) bool {
	want := min(r.need, maxLowat)
	if want < minLowat {
		want = 1
	}
	if want == r.lowat {
		return true
	}
	r.lowat = want
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, want) != nil
}
