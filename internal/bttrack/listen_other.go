//go:build !linux

package bttrack

import "syscall"

// deferAccept does something on Linux only.
func deferAccept(_, _ string, _ syscall.RawConn) error { return nil }
