package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn writes to a plain socket by system calls: memory by reference and
// files without passing through the process.
type rawConn struct {
	conn syscall.RawConn
	// try is tryWrite bound once, so that a write allocates nothing.
	try        func(fd uintptr) bool
	noSendfile bool
	w          *Writer
	n          int
	err        error
}

// newRawConn returns nil when w is not a plain socket.
func newRawConn(w io.Writer) *rawConn {
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	conn, err := w.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{conn: conn}
	r.try = r.tryWrite
	return r
}

// write offers one plan to the socket and returns how much it took: 0 when
// there was nothing to write. The plan is made again after each wait for room,
// so that messages added meanwhile keep their place before blocks.
func (r *rawConn) write(w *Writer) (int, error) {
	r.w, r.n, r.err = w, 0, nil
	err := r.conn.Write(r.try)
	if r.err != nil {
		err = r.err
	}
	return r.n, err
}

// tryWrite says whether it is done; false waits until the socket has room.
func (r *rawConn) tryWrite(fd uintptr) bool {
	for {
		ok, err := r.w.gather()
		if !ok {
			r.err = err
			return true
		}
		n, err := r.send(int(fd))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			r.w.unplan()
			return false
		case err != nil:
			r.err = fmt.Errorf("write to peer: %w", err)
			return true
		}
		r.n = n
		r.w.wrote(n)
		return true
	}
}

// send offers the plan to the socket in one system call.
func (r *rawConn) send(fd int) (int, error) {
	p := &r.w.plan
	if p.file != nil && !r.noSendfile {
		n, err := p.sendfile(fd)
		if err == nil || !cannotSendfile(err) {
			return n, err
		}
		r.noSendfile = true
	}
	if p.file != nil {
		// The file's file system cannot do it.
		r.w.scratch = r.w.scratch[:0]
		if err := r.w.loadFile(); err != nil {
			return 0, err
		}
		p.add(r.w.scratch)
	}
	flags := unix.MSG_NOSIGNAL
	if p.more {
		flags |= unix.MSG_MORE
	}
	return unix.SendmsgBuffers(fd, p.vecs, nil, nil, flags)
}

// cannotSendfile reports whether the file's file system is one without sendfile.
func cannotSendfile(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

func (p *plan) sendfile(fd int) (int, error) {
	src, err := p.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, off := 0, p.off
	cerr := src.Control(func(sfd uintptr) {
		n, err = unix.Sendfile(fd, int(sfd), &off, p.n)
	})
	if cerr != nil {
		return 0, cerr
	}
	if err == nil && n == 0 {
		return 0, &os.PathError{Op: "sendfile", Path: p.file.Name(), Err: io.ErrUnexpectedEOF}
	}
	return n, err
}
