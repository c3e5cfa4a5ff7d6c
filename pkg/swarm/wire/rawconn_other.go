//go:build !linux

package wire

import "io"

// rawConn is what writes to a plain socket by system calls; here there are
// none, and everything is written through a buffer.
type rawConn struct{}

func newRawConn(io.Writer) *rawConn { return nil }

func (*rawConn) write(*Writer) (int, error) { return 0, nil }
