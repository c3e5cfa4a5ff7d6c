package metalink

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse checks that nothing panics and that what is accepted obeys the
// writers' rules and comes back from each version as it was, but for what
// that version cannot express.
func FuzzParse(f *testing.F) {
	f.Add(v3(f, iso()))
	f.Add(v4(f, iso()))
	for _, s := range []string{
		docV3(`<file name="a"><resources><url type="bittorrent" preference="10">http://t/</url></resources></file>`),
		docV4(`<file name="a/b"><size>1</size><metaurl mediatype="torrent" name="x">http://t/</metaurl></file>`),
		docV4(`<file name="a"><signature mediatype="pgp">a&amp;&#13;b</signature></file>`), docV3(`<file name="a"><verification><signature type="x"> y </signature></verification></file>`),
		docV4(`<file name="../a"/>`), docV4(`<file name="&a;"/>`), `<!DOCTYPE a>` + docV4(""), docV4(`<file name=" &#x9;"/>`),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d, err := Parse(strings.NewReader(in))
		if err != nil {
			return
		}
		for i := range d.Files {
			d.Files[i].Tiers()
		}
		back3, err := Parse(strings.NewReader(v3(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		back4, err := Parse(strings.NewReader(v4(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(common(t, d), common(t, back3)); diff != "" {
			t.Fatalf("version 3 (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(common(t, d), common(t, back4)); diff != "" {
			t.Fatalf("version 4 (-want +got):\n%s", diff)
		}
	})
}

// common takes out of d what only one version can express.
func common(t *testing.T, d *Document) *Document {
	c := *d
	c.Dynamic = c.Dynamic && c.Origin != ""
	c.Files = nil
	for _, f := range d.Files {
		f.URLs, f.Torrents = plain(f.URLs), plain(f.Torrents)
		for i := range f.Torrents {
			f.Torrents[i].Location = ""
		}
		c.Files = append(c.Files, f)
	}
	return &c
}

func plain(list []URL) []URL {
	var out []URL
	for _, u := range list {
		u.MaxConnections, u.Name = 0, ""
		if u.Priority > 100 {
			u.Priority = LowestPriority
		}
		out = append(out, u)
	}
	return out
}
