package metalink

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The three lines of the old pipeline, and variations of them.
func TestParseMirror(t *testing.T) {
	for line, want := range map[string]Mirror{
		"external 100 https % https://bt.master.internet.ip ": {Location: "external", Preference: 100, Type: "https", Base: "https://bt.master.internet.ip/"},
		" internal 100 bittorrent % http://bt.master ":        {Location: "internal", Preference: 100, Type: "bittorrent", Base: "http://bt.master/"},
		" internal 10 http http://bt.master":                  {Location: "internal", Preference: 10, Type: "http", Base: "http://bt.master/", Guessed: true},
		"http://a/b/":                                         {Type: "http", Base: "http://a/b/"},
		"%http://a/b%20c":                                     {Type: "http", Base: "http://a/b%20c/"},
		"0 0 %\tftp://a\r\n":                                  {Type: "ftp", Base: "ftp://a/"},
		"UK % http://a":                                       {Location: "uk", Type: "http", Base: "http://a/"},
	} {
		got, err := ParseMirror(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", line, d)
		}
	}
	for line, want := range map[string]string{
		"":                        "not http, https or ftp",
		"%":                       "not http, https or ftp",
		"internal":                "not http, https or ftp",
		"a b c d % http://a":      "4 words before the URL",
		"a best % http://a":       `preference "best"`,
		"a 101 http % http://a":   `preference "101"`,
		"a 1 http % rsync://a":    "not http, https or ftp",
		"a 1 http % http://a b":   "white space",
		"a 1 http % http://a\x00": "mirror",
	} {
		_, err := ParseMirror(line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", line, err, want)
		}
	}
}

func TestMirrorAddTo(t *testing.T) {
	f := File{Name: "dir/a b%.iso"}
	for _, line := range []string{"external 100 https % https://m", "internal 100 bittorrent % http://m", "% http://m/x"} {
		m, err := ParseMirror(line)
		if err != nil {
			t.Fatal(err)
		}
		m.AddTo(&f)
	}
	want := File{
		Name: "dir/a b%.iso",
		URLs: []URL{
			{URL: "https://m/dir/a%20b%25.iso", Priority: 1, Location: "external", Type: "https"},
			{URL: "http://m/x/dir/a%20b%25.iso", Priority: LowestPriority, Type: "http"},
		},
		Torrents: []URL{{URL: "http://m/dir/a%20b%25.iso.torrent", Priority: 1, Location: "internal", Type: "torrent"}},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
