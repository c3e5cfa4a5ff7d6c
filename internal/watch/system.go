package watch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// system is what the kernel does for this package, and what tests replace.
type system struct {
	init  func() (int, error)
	add   func(fd int, path string, mask uint32) (int, error)
	lease func(fd int) error
}

func newSystem() *system {
	return &system{
		init: func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK) },
		add:  unix.InotifyAddWatch,
		lease: func(fd int) error {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
			if err == nil {
				_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
			}
			return err
		},
	}
}

// inotify(7) has its limits here.
const sysctls = "/proc/sys/fs/inotify/"

// sysctl reads a limit of inotify; 0 when it cannot be read.
func sysctl(name string) int {
	b, err := os.ReadFile(sysctls + name)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// raise says what to do about a limit that is too low by so much.
func raise(name string, by int) string {
	now := sysctl(name)
	const step = 1024
	want := (now + by + step - 1) / step * step
	return fmt.Sprintf("fs.inotify.%s is %d and used up: sysctl -w fs.inotify.%s=%d, and the same line in /etc/sysctl.d", name, now, name, want)
}

// initProblem says why there is no inotify, and what to do.
func initProblem(err error) string {
	if !errors.Is(err, unix.EMFILE) {
		return fmt.Sprintf("inotify: %v", err)
	}
	// One error for two limits: that of the user, and that of the process.
	f, ferr := os.Open(os.DevNull)
	if ferr != nil {
		return "inotify: this process has as many open files as it may: raise LimitNOFILE of the service (ulimit -n)"
	}
	_ = f.Close()
	return raise("max_user_instances", 128)
}

// watchesProblem says that so many of all folders are not watched.
func watchesProblem(missing, all int) string {
	return fmt.Sprintf("%d of %d folders are not watched: %s", missing, all, raise("max_user_watches", 2*missing))
}
