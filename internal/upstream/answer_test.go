package upstream

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPassword sends that of the base, or else what Auth says, and shows neither.
func TestPassword(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		got = u + ":" + p
		w.WriteHeader(http.StatusForbidden)
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	auth := func(u *url.URL) *url.Userinfo {
		if u.Host != host {
			t.Errorf("asked for the password of %s", u)
		}
		return url.UserPassword("of", "hunter2")
	}
	for base, want := range map[string]string{"http://in:hunter3@" + host: "in:hunter3", srv.URL: "of:hunter2"} {
		c, err := New(base, Options{Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.PublicKey(t.Context())
		if err == nil || strings.Contains(err.Error()+c.Base()+c.ContentURL("id", "x"), "hunter") {
			t.Errorf("error %v, base %s", err, c.Base())
		}
		if got != want {
			t.Errorf("the upstream got %q, want %q", got, want)
		}
		c.Close()
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		for text, want := range map[string]time.Duration{
			"": 0, "7": 7 * time.Second, "-7": 0, "99999": time.Hour, "soon": 0,
			at(90 * time.Second): 90 * time.Second, at(-time.Minute): 0, at(48 * time.Hour): time.Hour,
		} {
			if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	})
}
