package node

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// idlePriority has the calling thread read from the disk only when nobody else
// does (ioprio_set(2), class idle), where the scheduler knows of priorities.
func idlePriority() error {
	const (
		whoProcess = 1
		classIdle  = 3 << 13
	)
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle); errno != 0 {
		return fmt.Errorf("ioprio_set: %w", errno)
	}
	return nil
}
