//go:build !linux

package wire

import "io"

// rawReader is what reads from a plain socket by system calls; here there are
// none, and everything is read through the buffer.
type rawReader struct{}

func newRawReader(io.Reader) *rawReader { return nil }

func (*rawReader) read(_, _ []byte, _ int) (int, error) { return 0, io.EOF }
