//go:build !linux

package httpfetch

import (
	"errors"
	"syscall"
)

// setCongestion does nothing where the choice is not to be had for one socket.
func setCongestion(_ syscall.RawConn, name string) (used string, err error) {
	if name == "" {
		return "", nil
	}
	return "", errors.ErrUnsupported
}
