package netlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Proc is a process on a host.
type Proc struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// Start starts a program on the host. What it prints is appended to the file
// log. It has no settings of distd from this process's environment.
func (h *Host) Start(log string, argv ...string) (*Proc, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p := &Proc{cmd: exec.Command(argv[0], argv[1:]...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// In a group of its own it does not see the Ctrl-C that ends the lab in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DISTD_") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "DISTD_CONFIG=/dev/null")
	if err := h.within(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", argv[0], h.Name, err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	return p, nil
}

// Wait waits for the process's end. It is an error when the process says so, or
// when ctx ends before, which ends the process.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	case <-p.ended:
	}
	if p.cmd.ProcessState.Success() {
		return nil
	}
	return p.Err()
}

// Kill ends the process, and those that it has started in its group, as a crash
// would, and waits for its end.
func (p *Proc) Kill() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}

// Stop asks the process to end, and kills it when it has not after two seconds.
func (p *Proc) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(2 * time.Second):
		p.Kill()
	}
}

// Err is not nil when the process has ended: how, and what it said last.
func (p *Proc) Err() error {
	select {
	case <-p.ended:
		b, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended: %s: %s", p.cmd.Path, p.cmd.ProcessState, b[max(0, len(b)-500):])
	default:
		return nil
	}
}

// ticksPerSecond is the unit of /proc/PID/stat, the same on every Linux system.
const ticksPerSecond = 100

// CPU is the time that the process, its children in its group, and those that
// have ended have computed.
func (p *Proc) CPU() time.Duration {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	ticks := 0
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if group, n := parseStat(string(b)); group == p.cmd.Process.Pid {
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// parseStat reads from /proc/PID/stat the group of a process, and the time that
// it and its ended children have computed, in ticks.
func parseStat(stat string) (group, ticks int) {
	// The name in parentheses may have spaces; the fields behind it do not.
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 15 {
		return 0, 0
	}
	group, _ = strconv.Atoi(f[2])
	for _, s := range f[11:15] {
		n, _ := strconv.Atoi(s)
		ticks += n
	}
	return group, ticks
}

// PeakMemory is the most memory that the running process has had resident, in
// bytes; 0 when it has ended.
func (p *Proc) PeakMemory() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
