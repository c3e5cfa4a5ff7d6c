package tracker

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickListener takes connections off a listener without making net.Conns of
// them. Most bring one announce, which is there already, and end with its
// answer: four system calls are enough for them, where a net.Conn makes four
// more to know its addresses and to be woken.
type quickListener struct {
	file *os.File // the listener's socket
	raw  syscall.RawConn
}

// newQuickListener returns nil for a listener that is not a TCP one.
func newQuickListener(ln net.Listener) *quickListener {
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return nil
	}
	f, err := t.File()
	if err != nil {
		return nil // it goes without
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil
	}
	return &quickListener{f, raw}
}

// Close ends accept.
func (q *quickListener) Close() error { return q.file.Close() }

// accept waits for a connection and returns its socket, which does not block.
func (q *quickListener) accept() (quickConn, error) {
	var fd int
	var sa unix.Sockaddr
	var err error
	if rerr := q.raw.Read(func(ln uintptr) bool {
		fd, sa, err = unix.Accept4(int(ln), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	}); rerr != nil {
		return quickConn{}, rerr
	}
	return quickConn{fd, sockAddr(sa)}, err
}

func sockAddr(sa unix.Sockaddr) netip.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.Addr{}
}

// quickConn is a socket.
type quickConn struct {
	fd   int
	from netip.Addr
}

// read reads what is there; nothing when there is nothing.
func (c quickConn) read(b []byte) int {
	n, err := unix.Read(c.fd, b)
	if err != nil {
		return 0 // whoever goes on with the connection hears of it again
	}
	return n
}

// write writes what the socket takes at once.
func (c quickConn) write(b []byte) int {
	n, err := unix.Write(c.fd, b)
	if err != nil {
		return 0
	}
	return n
}

func (c quickConn) local() netip.Addr {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return netip.Addr{}
	}
	return sockAddr(sa)
}

func (c quickConn) close() { _ = unix.Close(c.fd) } // what was to be sent has been

// conn makes a net.Conn of the socket, which is closed with it.
func (c quickConn) conn() (net.Conn, error) {
	f := os.NewFile(uintptr(c.fd), "tcp")
	defer func() { _ = f.Close() }() // FileConn has its own
	return net.FileConn(f)
}
