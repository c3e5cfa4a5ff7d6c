package hook

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ending says why a hook ended.
type ending int

const (
	byItself ending = iota
	byTimeout
	byContext
)

// settle is how long what is left of a group may take to obey TERM when its
// leader has ended already.
const settle = 300 * time.Millisecond

// watch waits for the end of the started program and ends its whole process
// group when the job's time is up or ctx ends. The error is that of cmd.Wait.
func watch(ctx context.Context, cmd *exec.Cmd, j Job) (ending, error) {
	pid := cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		waitExit(pid)
	}()
	timer := time.NewTimer(j.Timeout)
	defer timer.Stop()
	why := byItself
	select {
	case <-exited:
		return why, cmd.Wait()
	case <-timer.C:
		why = byTimeout
	case <-ctx.Done():
		why = byContext
	}
	signalGroup(pid, syscall.SIGTERM)
	timer.Reset(j.Grace)
	select {
	case <-exited:
		timer.Reset(min(settle, j.Grace))
		<-timer.C
	case <-timer.C:
	}
	// The leader may have obeyed while its children did not. It is not reaped
	// yet, so the group's number still belongs to it and to nobody else.
	signalGroup(pid, syscall.SIGKILL)
	<-exited
	return why, cmd.Wait()
}

// waitExit returns when the process has ended, and leaves it to be reaped.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// signalGroup signals the process group of the hook. That nobody is left in it
// is not an error.
func signalGroup(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

// processAttr puts the hook into a process group of its own. The hook gets TERM
// when distd dies: after the restart it is run again, and two runs at a time
// would be worse than one cut short. That reaches the program itself; what it
// has started is ended by systemd, with all that is left in the unit.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
