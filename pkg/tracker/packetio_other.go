//go:build !linux

package tracker

import (
	"net"
	"net/netip"
)

// newUDPIO serves a UDP socket; where it is bound to all addresses, the system
// chooses the one that answers come from.
func newUDPIO(conn *net.UDPConn, local netip.Addr) (packetIO, error) {
	return &plainIO{pc: conn, local: local}, nil
}
