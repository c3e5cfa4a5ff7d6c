//go:build !linux

package serve

import (
	"errors"
	"net"
)

func setCongestion(*net.TCPConn, string) error { return errors.ErrUnsupported }
