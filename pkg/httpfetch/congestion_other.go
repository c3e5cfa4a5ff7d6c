//go:build !linux

package httpfetch

import "syscall"

// setCongestion does nothing where the choice is not to be had for one socket.
func setCongestion(syscall.RawConn, string) {}
