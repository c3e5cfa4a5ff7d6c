package httpfetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCauseOfAnswers(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			w.WriteHeader(http.StatusBadGateway)
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/secret":
			w.WriteHeader(http.StatusForbidden)
		case "/elsewhere":
			http.Redirect(w, r, "http://127.9.9.9:1/", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	for path, want := range map[string]Cause{
		"/away": CauseAway, "/busy": CauseBusy, "/secret": CauseRefused, "/elsewhere": CauseProtocol, "/missing": CauseAbsent,
	} {
		_, err := Probe(t.Context(), c, srv.URL+path)
		if got := CauseOf(err); got != want {
			t.Errorf("%s: cause %d of %v, want %d", path, got, err, want)
		}
	}
}

// Of several mirrors the failure that waiting does not mend decides.
func TestCauseOfSeveralMirrors(t *testing.T) {
	gone := faultf(absent, "status 404 Not Found")
	for _, c := range []struct {
		errs []error
		want Cause
	}{
		{[]error{gone}, CauseAbsent},
		{[]error{gone, errors.New("connection refused")}, CauseAway},
		{[]error{errors.New("connection refused"), faultf(liar, "status 200"), gone}, CauseProtocol},
		{[]error{faultf(liar, "status 200"), faultf(poison, "piece 1")}, CauseBytes},
	} {
		e := &GiveUpError{}
		for _, err := range c.errs {
			e.Failures = append(e.Failures, MirrorFailure{Mirror: "m", Err: err})
		}
		if got := CauseOf(fmt.Errorf("site.tar: %w", e)); got != c.want {
			t.Errorf("%v: cause %d, want %d", c.errs, got, c.want)
		}
	}
	if got := CauseOf(errors.New("disk")); got != CauseNone {
		t.Errorf("an error of something else has cause %d", got)
	}
}
