package httpfetch

import (
	"errors"
	"net/http"
)

// Cause is what is to blame for a failure, for callers that must tell their own
// user what to do about it.
type Cause int

// Causes. With several mirrors the one that a person should look at first
// decides: the order is that of CauseOf.
const (
	// CauseNone is an error that is not of a server.
	CauseNone Cause = iota
	// CauseAbsent is a server that does not have the file (404, 410, ...).
	CauseAbsent
	// CauseRefused is a server that wants another user or certificate (401, 403,
	// 407).
	CauseRefused
	// CauseBusy is a server that asks for patience (429, 503).
	CauseBusy
	// CauseAway is a server that cannot be reached, fails or says nothing.
	CauseAway
	// CauseProtocol is a server whose answer is not what was asked for, or that
	// cannot show who it is.
	CauseProtocol
	// CauseBytes is a server whose bytes did not verify.
	CauseBytes
)

// CauseOf is what is to blame for an error of this package.
func CauseOf(err error) Cause {
	var gone *GiveUpError
	if errors.As(err, &gone) {
		if len(gone.Failures) == 0 {
			return CauseAway
		}
		worst := CauseNone
		for _, f := range gone.Failures {
			one := CauseOf(f.Err)
			if one == CauseNone {
				one = CauseAway // a failed connection has no class of its own
			}
			worst = max(worst, one)
		}
		return worst
	}
	var f *fault
	if !errors.As(err, &f) {
		return CauseNone
	}
	switch f.class {
	case poison:
		return CauseBytes
	case liar:
		return CauseProtocol
	case busy:
		return CauseBusy
	case absent:
		switch f.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
			return CauseRefused
		}
		return CauseAbsent
	}
	return CauseAway
}
