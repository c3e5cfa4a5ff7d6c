//go:build !linux

package serve

import (
	"errors"
	"net"
)

func setCongestion(_ *net.TCPConn, name string) (used string, err error) {
	if name == "" {
		return "", nil
	}
	return "", errors.ErrUnsupported
}
