package outward

import (
	"net/http"
	"strings"
	"testing"
)

// TestExcepted goes through the ways of NO_PROXY.
func TestExcepted(t *testing.T) {
	for _, c := range []struct {
		no, url string
		direct  bool
	}{
		{"", "https://bt.master:8443", false},
		{"", "http://localhost:1", true},
		{"", "http://127.9.9.9:1", true},
		{"", "http://[::1]:1", true},
		{"*", "https://bt.master", true},
		{"a.example, bt.master", "https://bt.master:8443", true},
		{"bt.master", "https://x.bt.master", true},
		{"bt.master", "https://notbt.master", false},
		{".bt.master", "https://x.bt.master", true},
		{".bt.master", "https://bt.master", false},
		{"*.local.dc", "http://bt.local.dc:6969", true},
		{"bt.master:8443", "https://bt.master:8443", true},
		{"bt.master:443", "https://bt.master", true},
		{"bt.master:8443", "https://bt.master", false},
		{"BT.Master", "https://bt.master.", true},
		{"10.0.0.0/8", "http://10.1.2.3", true},
		{"10.0.0.0/8", "http://11.1.2.3", false},
		{"10.0.0.0/8", "http://ten.example", false},
		{"10.1.2.3", "http://10.1.2.3:99", true},
		{"[2001:db8::1]:8443", "https://[2001:db8::1]:8443", true},
		{"2001:db8::/32", "https://[2001:db8::1]", true},
		{"2001:db8::1", "https://[2001:db8::2]", false},
	} {
		p, err := newProxy("http://proxy:3128", func(string) string { return c.no })
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.of(&http.Request{URL: parse(t, c.url)})
		if err != nil || (got == nil) != c.direct {
			t.Errorf("NO_PROXY=%s %s: %v, %v", c.no, c.url, got, err)
		}
	}
}

func TestProxySetting(t *testing.T) {
	for _, bad := range []string{"proxy:3128", "ftp://u:hunter2@proxy", "http://", "http://u:hunter2@pro xy"} {
		if _, err := New(Config{Proxy: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("proxy %q: %v", bad, err)
		}
	}
	for setting, want := range map[string]string{None: "", "https://u:p@proxy:3128": "https://u:p@proxy:3128", "http://proxy:3128": "http://of:file@proxy:3128"} {
		a, err := New(Config{Proxy: setting, AuthFile: authFile(t, "machine http://proxy:3128 login of password file")})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if u, err := a.Proxy(&http.Request{URL: parse(t, "https://bt.master")}); err != nil {
			t.Error(err)
		} else if u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("proxy %s: %s, want %s", setting, got, want)
		}
	}
}
