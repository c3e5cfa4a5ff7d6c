//go:build !linux

package swarm

import "net"

func setNotSentLowat(net.Conn, int) {}
