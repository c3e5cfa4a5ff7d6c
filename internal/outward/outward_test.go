package outward

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func authFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPasswordsBelongToAnOrigin asks for the password of URLs that are like one
// that has one.
func TestPasswordsBelongToAnOrigin(t *testing.T) {
	a, err := New(Config{AuthFile: authFile(t, `
# the master
machine bt.master:8443 login dc1 password one
machine http://[2001:db8::1]:3128
	login proxy
	password two
machine CDN.example login cdn password three
`)})
	if err != nil {
		t.Fatal(err)
	}
	if bare := a.Adopt("https://me:four@other.master:8443/tree"); bare != "https://other.master:8443/tree" {
		t.Errorf("Adopt leaves %s", bare)
	}
	for raw, want := range map[string]string{
		"https://bt.master:8443/x":            "dc1:one",
		"https://BT.MASTER:8443":              "dc1:one",
		"http://[2001:db8::1]:3128":           "proxy:two",
		"https://cdn.example/x":               "cdn:three",
		"https://cdn.example:443/x":           "cdn:three",
		"https://other.master:8443/other":     "me:four",
		"https://u:own@bt.master:8443":        "u:own",
		"http://bt.master:8443/x":             "",
		"https://bt.master/x":                 "",
		"https://bt.master:8444/x":            "",
		"https://x.bt.master:8443/x":          "",
		"https://bt.master.evil.example:8443": "",
		"http://cdn.example/x":                "",
		"http://cdn.example:443/x":            "",
		"https://other.master/tree":           "",
		"https://[2001:db8::1]:3128":          "",
	} {
		got := ""
		if u := a.Userinfo(parse(t, raw)); u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

// TestTransportFollowsNoRedirect has a server that redirects to another port of
// its host: the password stays behind.
func TestTransportFollowsNoRedirect(t *testing.T) {
	var first, second string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { second = r.Header.Get("Authorization") }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first = r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	defer srv.Close()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	bare := a.Adopt("http://u:p@" + srv.Listener.Addr().String())
	c := http.Client{Transport: a.Transport(http.DefaultTransport)}
	resp, err := c.Get(bare)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if first != "Basic dTpw" || second != "" {
		t.Errorf("the server got %q, the other %q", first, second)
	}
}

func TestBadAuthFiles(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{
		"default login a password " + secret, "machine h password " + secret, "login a password " + secret, "machine ftp://h login a password " + secret,
		"machine https://u:" + secret + "@h login a", "machine h/path login a password " + secret, "machine h login a password " + secret + " " + secret,
		"machine h login a password x machine https://h:443 login b password " + secret, "machine",
	} {
		if _, err := New(Config{AuthFile: authFile(t, text)}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
	open := authFile(t, "machine h login a password b")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{AuthFile: open}); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file that everybody can read: %v", err)
	}
}

// TestReloadKeepsWhatWorks changes the file, and then breaks it.
func TestReloadKeepsWhatWorks(t *testing.T) {
	file := authFile(t, "machine h login a password b")
	a, err := New(Config{AuthFile: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		text string
		ok   bool
	}{{"machine h login a password c", true}, {"nonsense", false}} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Reload(); (err == nil) != step.ok {
			t.Errorf("%q: %v", step.text, err)
		}
		if u := a.Userinfo(parse(t, "https://h")); u.String() != "a:c" {
			t.Errorf("after %q: %s", step.text, u)
		}
	}
}
