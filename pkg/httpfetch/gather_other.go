//go:build !linux

package httpfetch

import "syscall"

func setLowat(syscall.RawConn, int) {}
