package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// adviceFor returns what to do about err, to be put behind it.
func adviceFor(command string, err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return " (PATH is " + os.Getenv("PATH") + "; install it there or give its full path)"
	case errors.Is(err, fs.ErrPermission) && strings.Contains(command, "/"):
		return " (make it executable: chmod +x " + command + ")"
	case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(command, " \t"):
		return " (a hook is a program's path without arguments; put the command line into a script)"
	case errors.Is(err, syscall.EISDIR):
		return " (a hook is a program, not a folder)"
	}
	return ""
}

// checkInterpreter looks whether the interpreter in the script's first line can
// be run. Without this the kernel says "no such file" about a script that
// plainly exists. A program that cannot be read is left to the kernel.
func checkInterpreter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil //nolint:nilerr // executable but not readable is fine for binaries
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("hook %s: read: %w", path, err)
	}
	line, ok := bytes.CutPrefix(head[:n], []byte("#!"))
	if !ok {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if bytes.HasSuffix(line, []byte("\r")) {
		return fmt.Errorf("hook %s: its lines end in CR LF, so its interpreter cannot be found; convert it with dos2unix or sed -i 's/\\r$//'", path)
	}
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return nil
	}
	if _, err := exec.LookPath(fields[0]); err != nil {
		return fmt.Errorf("hook %s: its interpreter %s cannot be run: %w", path, fields[0], errors.Unwrap(err))
	}
	return nil
}
