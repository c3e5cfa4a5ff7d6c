//go:build !linux

package dscp

import "syscall"

// Mark does nothing on this system.
func Mark(syscall.RawConn, int) error { return nil }
