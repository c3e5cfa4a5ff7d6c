package httpfetch

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// class says what a failure means for the mirror.
type class int

const (
	// soft: a connection failed or was slow; another may work at once.
	soft class = iota
	// busy: the mirror asked for patience (429, 503).
	busy
	// absent: the mirror does not have, or does not give, the file (404, 403).
	absent
	// liar: the answer is not what was asked for, so the mirror is wrong,
	// broken or hostile.
	liar
	// poison: the mirror's bytes did not verify.
	poison
)

var classNames = [...]string{"failing", "busy", "absent", "distrusted", "bad bytes"}

func (c class) String() string { return classNames[c] }

// fault is a failure with what it means.
type fault struct {
	class class
	// wait is how long the mirror asked to be left alone; zero when it did not.
	wait time.Duration
	// status is the answer's, where that is what was wrong.
	status int
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func faultf(c class, format string, args ...any) *fault {
	return &fault{class: c, err: fmt.Errorf(format, args...)}
}

// asFault gives any error a class; what has none is a failed connection.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{class: soft, err: err}
}

// isBadPiece says whether a Sink's error blames the bytes.
func isBadPiece(err error) bool {
	var b interface{ BadPiece() bool }
	return errors.As(err, &b) && b.BadPiece()
}

// MirrorFailure is why one mirror was given up.
type MirrorFailure struct {
	Mirror string
	Err    error
}

// GiveUpError is returned by a Fetcher with GiveUp set when no mirror is left.
type GiveUpError struct {
	Failures []MirrorFailure
}

func (e *GiveUpError) Error() string {
	var b strings.Builder
	b.WriteString("every mirror failed")
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "; %s: %v", f.Mirror, f.Err)
	}
	return b.String()
}

// Unwrap returns the failure of every mirror.
func (e *GiveUpError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f.Err
	}
	return errs
}
