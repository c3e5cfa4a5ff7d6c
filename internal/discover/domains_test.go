package discover

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDomains(t *testing.T) {
	for name, c := range map[string]struct {
		conf string // "-" for no file
		host string
		want []string
		err  string
	}{
		"search":            {"nameserver 10.0.0.1\nsearch dc1.example.com example.com\n", "web1.other.net", []string{"dc1.example.com", "example.com"}, ""},
		"domain":            {"domain Example.COM.\r\n", "web1", []string{"example.com"}, ""},
		"last line counts":  {"search a.example.com\ndomain b.example.com\nsearch c.example.com d.example.com", "web1", []string{"c.example.com", "d.example.com"}, ""},
		"comments":          {"# search no.example.com\n;search no.example.com\nsearch yes.example.com # no.example.com\n", "web1", []string{"yes.example.com"}, ""},
		"no file":           {"-", "web1.dc1.example.com", []string{"dc1.example.com"}, ""},
		"root is none":      {"search .\n", "web1.dc1.example.com", []string{"dc1.example.com"}, ""},
		"twice":             {"search a.example.com A.example.com.\n", "", []string{"a.example.com"}, ""},
		"no domains":        {"search a/b ..  " + strings.Repeat("x", 64) + "\n", "web1.dc1..example.com", nil, "no domain"},
		"nothing":           {"nameserver 10.0.0.1\n", "web1", nil, "the host's name \"web1\" has no domain"},
		"too many":          {"search a b c d e f g h i j\n", "", []string{"a", "b", "c", "d", "e", "f", "g", "h"}, ""},
		"too long":          {"search a\n" + strings.Repeat("#", maxResolvConf) + "\nsearch b\n", "", []string{"a"}, ""},
		"no room for names": {"search " + strings.Repeat("x.", 125) + "com\n", "web1", nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if c.conf != "-" {
				if err := os.WriteFile(path, []byte(c.conf), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := domainsOf(path, func() (string, error) { return c.host, nil })
			if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v, want %q, %q", got, err, c.want, c.err)
			}
		})
	}
	_, err := domainsOf(t.TempDir(), nil)
	if err == nil {
		t.Error("a folder was read")
	}
	broken := errors.New("broken")
	if _, err := domainsOf("/nonexistent", func() (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzSearched(f *testing.F) {
	f.Add([]byte("search a.example.com b\ndomain c"))
	f.Fuzz(func(t *testing.T, conf []byte) {
		got := searched(conf)
		if len(got) > maxDomains {
			t.Fatal(len(got))
		}
		for _, d := range got {
			if !hostname("_distds._tcp." + d) {
				t.Fatalf("%q", d)
			}
		}
	})
}

type told struct{ *net.SRV }

func (t told) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", []*net.SRV{t.SRV}, nil
}

// FuzzRecord has nothing of a record get into an URL but a host and its port.
func FuzzRecord(f *testing.F) {
	f.Add("a.example.com.", uint16(6969))
	f.Add("a@b.", uint16(1))
	f.Add("10.0.0.1.", uint16(6969))
	f.Add("a.example.com/x", uint16(6969))
	f.Add("a.example.com", uint16(0))
	f.Fuzz(func(t *testing.T, target string, port uint16) {
		found, _ := LookupIn(t.Context(), told{&net.SRV{Target: target, Port: port}}, []string{"example.com"})
		for _, r := range found {
			_, rest, _ := strings.Cut(r.URL, "://")
			if host, _, err := net.SplitHostPort(rest); err != nil || port == 0 || !hostname(host) || net.ParseIP(host) != nil {
				t.Fatalf("%q", r.URL)
			}
		}
	})
}
