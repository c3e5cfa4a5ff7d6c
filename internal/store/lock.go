package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// takeLock takes the lock of the folder, which ends with the process or by
// endLock. The file holds the number of the process for messages.
func takeLock(root *os.Root, dir string, log *zap.Logger) (*os.File, error) {
	f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, explain("open", dir+"/"+lockFile, err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, lockedBy(f)
		}
		return nil, explain("lock", dir+"/"+lockFile, err)
	}
	// A full disk must not keep distd from starting: the number only serves
	// the message of a second process.
	if err := writePID(f); err != nil {
		log.Warn("cannot note the process number in the lock file", zap.Error(err))
	}
	return f, nil
}

// endLock ends the lock. Closing the file alone would leave it to a program
// that is being started just now, which has the descriptor too until it runs.
func endLock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

func writePID(f *os.File) error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

func lockedBy(f *os.File) error {
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("the folder %w: stop it, or give this one a -dir of its own", ErrLocked)
	}
	return fmt.Errorf("the folder %w, process %d: stop it, or give this one a -dir of its own", ErrLocked, pid)
}

// tempName returns a name in the folder for temporary things that nobody else
// has.
func tempName(what string) string {
	if len(what) > 100 {
		what = what[:100]
	}
	return rand.Text() + "-" + what
}
