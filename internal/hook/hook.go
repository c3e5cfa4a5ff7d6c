// Package hook runs the operator's program after a release has become live.
//
// The program gets aria2's three arguments (a GID of 16 hex digits, the number
// of files, the path of the first file) and DISTD_ variables in its
// environment. It is started without a shell, in a process group of its own,
// with a time limit, and what it prints goes line by line into the log.
//
// The package keeps no journal and decides nothing about retries: that a hook
// runs exactly once is kept by internal/store, when it runs again by
// internal/node. Run owns every goroutine that it starts and ends them before
// it returns.
package hook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// RetryCode is the exit code by which a hook asks to be run again later
// (EX_TEMPFAIL of sysexits.h).
const RetryCode = 75

// Defaults of a Job's zero fields.
const (
	DefaultTimeout = 10 * time.Minute
	DefaultGrace   = 10 * time.Second
)

// pipeDelay is how long after the hook's end its output is still read while a
// process that it left behind holds the pipe open.
const pipeDelay = 2 * time.Second

// Job is one run of a hook.
type Job struct {
	// Command is a program, searched in PATH when it has no slash. It is not a
	// command line: there are no arguments in it, as in aria2.
	Command string
	// GID, NumFiles and FirstPath are the three arguments.
	GID       string
	NumFiles  int
	FirstPath string
	// Env is added to the daemon's environment and wins over it.
	Env map[string]string
	// Timeout ends the hook: its process group gets TERM and, Grace later,
	// KILL. Zero stands for DefaultTimeout and DefaultGrace.
	Timeout, Grace time.Duration
	// Dir is the working directory; empty for the daemon's own.
	Dir string
	// Log gets the output; nil for none.
	Log *zap.Logger
	// Output gets it too, line by line as it comes; nil for none.
	Output io.Writer
}

// Result says how a run ended.
type Result struct {
	// Code is the exit code; 128 plus the signal's number when a signal ended
	// the hook, as in a shell.
	Code int `json:"code"`
	// Retry is true for exit code 75: the hook wants to be run again later.
	Retry    bool          `json:"retry"`
	TimedOut bool          `json:"timed_out"`
	Duration time.Duration `json:"duration"`
	// Output is the end of what the hook printed, at most 4 KiB.
	Output string `json:"output"`
}

// OK says that the hook did its work.
func (r Result) OK() bool { return r.Code == 0 && !r.TimedOut }

// String describes the result in a few words for logs and the journal.
func (r Result) String() string {
	switch {
	case r.TimedOut:
		return "timed out after " + r.Duration.Round(time.Millisecond).String()
	case r.Code == 0:
		return "ok"
	case r.Retry:
		return "exit code 75, wants to run again"
	case r.Code > 128 && r.Code < 128+65:
		return "ended by signal: " + syscall.Signal(r.Code-128).String()
	default:
		return "exit code " + strconv.Itoa(r.Code)
	}
}

// GID returns the GID of a release, 16 lower-case hex digits that are the same
// on every node: the beginning of its ID (or infohash).
func GID(id string) string {
	if len(id) >= 16 {
		g := strings.ToLower(id[:16])
		if _, err := hex.DecodeString(g); err == nil {
			return g
		}
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// Run starts the job's program and waits for its end. Any way in which the
// program ended by itself or by its timeout is a Result without an error.
//
// An error means that the hook did not run or did not come to its end: it could
// not be started, or ctx ended and it was killed. Neither counts as a run that
// is done. A daemon that stops should give a running hook time by ending ctx
// late.
func Run(ctx context.Context, j Job) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("hook %s: not started: %w", j.Command, context.Cause(ctx))
	}
	path, err := Resolve(j.Command)
	if err != nil {
		return Result{}, err
	}
	j.setDefaults()
	out := &lineLog{log: j.Log, copy: j.Output}
	// The kernel sends the parent-death signal when the thread that started
	// the process ends, so this thread has to live as long as the hook.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	cmd, err := start(path, j, out)
	if err != nil {
		return Result{}, fmt.Errorf("hook %s: start: %w%s", path, err, adviceFor(path, err))
	}
	why, werr := watch(ctx, cmd, j)
	out.flush()
	r := Result{Code: exitCode(cmd.ProcessState), Duration: time.Since(begin), TimedOut: why == byTimeout, Output: out.tailString()}
	r.Retry = r.Code == RetryCode && !r.TimedOut
	if errors.Is(werr, exec.ErrWaitDelay) {
		j.Log.Warn("hook: a process left behind by the hook still held its output open, which is no longer read; redirect the output of what shall go on running",
			zap.String("command", path))
	}
	if why == byContext && r.Code != 0 {
		return r, fmt.Errorf("hook %s: ended before it was done: %w", path, context.Cause(ctx))
	}
	return r, nil
}

func (j *Job) setDefaults() {
	if j.Timeout <= 0 {
		j.Timeout = DefaultTimeout
	}
	if j.Grace <= 0 {
		j.Grace = DefaultGrace
	}
	if j.Log == nil {
		j.Log = zap.NewNop()
	}
}

// start starts the program. One that the kernel does not know how to run,
// because its first line names no interpreter, is given to /bin/sh, which is
// what execlp(3) does for aria2.
func start(path string, j Job, out *lineLog) (*exec.Cmd, error) {
	args := []string{j.GID, strconv.Itoa(j.NumFiles), j.FirstPath}
	cmd := command(path, args, j, out)
	err := cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) {
		cmd = command("/bin/sh", append([]string{path}, args...), j, out)
		err = cmd.Start()
	}
	return cmd, err
}

func command(path string, args []string, j Job, out *lineLog) *exec.Cmd {
	cmd := exec.Command(path, args...) //nolint:gosec // running the operator's program is the purpose
	cmd.Env = environ(os.Environ(), j.Env)
	cmd.Dir = j.Dir
	// One writer for both gives one pipe, which keeps the lines in order.
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = processAttr()
	return cmd
}

// environ returns base with the job's variables. What systemd told the daemon
// about itself is left out: a hook that spoke to the notify socket would speak
// in the daemon's name.
func environ(base []string, add map[string]string) []string {
	own := []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
	env := make([]string, 0, len(base)+len(add))
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		if _, replaced := add[name]; !replaced && !slices.Contains(own, name) {
			env = append(env, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(add)) {
		env = append(env, name+"="+add[name])
	}
	return env
}

func exitCode(ps *os.ProcessState) int {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}

// Check says whether a hook can be run: the program exists, is found in PATH
// when its name has no slash, is executable, and the interpreter that its first
// line names is there too. It is meant for the daemon's start, so that a
// missing hook is not found only when the first release arrives.
func Check(command string) error {
	_, err := Resolve(command)
	return err
}

// Resolve returns the absolute path of a hook's program, after all that Check
// looks at.
func Resolve(command string) (string, error) {
	if command == "" {
		return "", errors.New("hook: no command given")
	}
	path, err := exec.LookPath(command)
	if errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("hook %s: found only through a relative folder in PATH; give its full path", command)
	}
	if err != nil {
		var e *exec.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", fmt.Errorf("hook %s: %w%s", command, err, adviceFor(command, err))
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("hook %s: %w", command, err)
	}
	return path, checkInterpreter(path)
}
