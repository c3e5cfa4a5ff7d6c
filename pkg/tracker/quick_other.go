//go:build !linux

package tracker

import (
	"errors"
	"net"
	"net/netip"
)

// quickListener is for Linux alone.
type quickListener struct{}

func newQuickListener(net.Listener) *quickListener { return nil }

func (*quickListener) Close() error { return nil }

func (*quickListener) accept() (quickConn, error) { return quickConn{}, errors.ErrUnsupported }

type quickConn struct{ from netip.Addr }

func (quickConn) read([]byte) int         { return 0 }
func (quickConn) write([]byte) int        { return 0 }
func (quickConn) local() netip.Addr       { return netip.Addr{} }
func (quickConn) close()                  {}
func (quickConn) conn() (net.Conn, error) { return nil, errors.ErrUnsupported }
