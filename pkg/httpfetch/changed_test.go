package httpfetch

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A document that is still the same is not sent again.
func TestGetChanged(t *testing.T) {
	text, tag := "one", `"1"`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	defer srv.Close()
	c := NewClient(ClientConfig{})
	defer func() { _ = c.Close() }()
	var old Info
	get := func(want string) {
		t.Helper()
		var b bytes.Buffer
		info, changed, err := GetChanged(t.Context(), c, srv.URL, old, &b, 100)
		if err != nil || changed != (want != "") || b.String() != want || info.ETag != tag {
			t.Fatalf("got %q, changed %v, %+v, %v; want %q", b.String(), changed, info, err, want)
		}
		old = info
	}
	get("one")
	get("")
	text, tag = "two", `"2"`
	get("two")
	get("")
}
