package httpfetch

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseContentRange(t *testing.T) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "BYTES 0-99/100000000000000000"} {
		if _, err := parseContentRange(s); err != nil {
			t.Errorf("%q refused: %v", s, err)
		}
	}
	for _, s := range []string{"", "bytes", "bytes */10", "bytes 0-9/*", "bytes 0-10/10", "bytes 5-4/10", "bytes -1-4/10", "bytes 0-4", "items 0-4/10", "bytes=0-4/10", "bytes 0-4/9223372036854775808", "bytes +0-4/10", "bytes 0 -4/10", "bytes 0-4/10, 5-6/10", "bytes  0-4/10"} {
		if r, err := parseContentRange(s); err == nil {
			t.Errorf("%q accepted as %+v", s, r)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes */10", "bytes 0-9/*", "bytes 9-5/10", "bytes 0-999999999999999999/9999999999999999999", "items 1-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err != nil {
			return
		}
		if r.first < 0 || r.last < r.first || r.size <= r.last {
			t.Fatalf("%q read as %+v", s, r)
		}
		if again, err := parseContentRange(fmt.Sprintf("bytes %d-%d/%d", r.first, r.last, r.size)); err != nil || again != r {
			t.Fatalf("%+v does not read back: %+v, %v", r, again, err)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-3": 0, "99999999999": time.Hour, "soon": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat):     90 * time.Second,
		now.Add(-90 * time.Second).Format(http.TimeFormat):    0,
		now.Add(100 * 24 * time.Hour).Format(http.TimeFormat): time.Hour,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestParseLinks(t *testing.T) {
	base, _ := url.Parse("https://m.example/dir/file")
	got := parseLinks([]string{
		`<https://b.example/file>; rel=duplicate; pri=1; pref; geo=GB; depth=1`,
		`</other>; rel="duplicate"; pri=2, <ftp://x/y>; rel=duplicate, <file.torrent>; rel=describedby; type="application/x-bittorrent"; name="a \"b\""`,
		`garbage, <https://c.example/,;>;rel=duplicate;pri=0`,
		`<https://no-rel.example/>`, `<unclosed; rel=duplicate`,
	}, base)
	want := []Link{
		{URL: "https://b.example/file", Rel: "duplicate", Pri: 1, Pref: true, Geo: "gb"},
		{URL: "https://m.example/other", Rel: "duplicate", Pri: 2},
		{URL: "https://m.example/dir/file.torrent", Rel: "describedby", Pri: 999999, Type: "application/x-bittorrent", Name: `a "b"`},
		{URL: "https://c.example/,;", Rel: "duplicate", Pri: 999999},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(parseLinks([]string{strings.Repeat(`<http://x/>;rel=a,`, 1000)}, base)); n != maxLinks {
		t.Errorf("%d links, want no more than %d", n, maxLinks)
	}
}

func TestParseDigests(t *testing.T) {
	const sum = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	const hexSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct {
		h    http.Header
		want map[string]string
	}{
		{http.Header{}, nil},
		{http.Header{"Digest": {"SHA-256=" + sum}}, map[string]string{"sha-256": hexSum}},
		{http.Header{"Digest": {"md5=1B2M2Y8AsgTpgAmY7PhCfg==,SHA-256=" + sum}}, map[string]string{"sha-256": hexSum, "md5": "d41d8cd98f00b204e9800998ecf8427e"}},
		{http.Header{"Repr-Digest": {"sha-256=:" + sum + ":"}}, map[string]string{"sha-256": hexSum}},
		{http.Header{"Repr-Digest": {"sha-256=" + sum}}, nil},
		{http.Header{"Digest": {"SHA-256=" + sum[:20]}}, nil},
		{http.Header{"Digest": {"crc=abc"}}, nil},
	} {
		if d := cmp.Diff(c.want, parseDigests(c.h)); d != "" {
			t.Errorf("%v: %s", c.h, d)
		}
	}
}

func FuzzParseLinks(f *testing.F) {
	f.Add(`<https://b.example/file>; rel=duplicate; pri=1; pref; geo=gb`, `SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`)
	f.Add(`</a>; rel="x\"`, `sha-256=:AA==:`)
	f.Add(`<`, `=,=,`)
	f.Add(`,;,<>;;=;"`, `:`)
	base, _ := url.Parse("https://m.example/dir/file")
	f.Fuzz(func(t *testing.T, link, digest string) {
		links := parseLinks([]string{link}, base)
		if len(links) > maxLinks {
			t.Fatalf("%d links", len(links))
		}
		for _, l := range links {
			if u, err := url.Parse(l.URL); err != nil || u.Host == "" || l.Pri < 1 || l.Pri > 999999 {
				t.Fatalf("link %+v: %v", l, err)
			}
		}
		for alg, sum := range parseDigests(http.Header{"Digest": {digest}, "Repr-Digest": {digest}}) {
			if len(sum) != 2*map[string]int{"sha-512": 64, "sha-256": 32, "sha-1": 20, "md5": 16}[alg] {
				t.Fatalf("%s is %q", alg, sum)
			}
		}
	})
}
