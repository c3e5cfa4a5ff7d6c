package metalink

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What only version 3 has is left out of version 4, and names are escaped as
// the `metalink` program does it.
func TestWriteOldKinds(t *testing.T) {
	d := &Document{
		Description: `R&D "1 < 2"`, Header: []byte("<publisher><name>P</name></publisher>"),
		Files: []File{{
			Name: `a & b's "<c>".iso`, Size: -1,
			Hashes: map[string]string{"md4": md5Hex, "md5": md5Hex, "sha-1": sha1Hex, "rmd160": sha1Hex, "crc32": "0a0a0a0a", "ed2k": md5Hex},
			Links:  []Link{{Type: "magnet", URL: "magnet:?xt=urn:sha1:" + sha1Hex + "&dn=a"}},
		}},
	}
	want3 := `<?xml version="1.0" encoding="UTF-8"?>
<metalink version="3.0"
  xmlns="http://www.metalinker.org/"
  >
<publisher><name>P</name></publisher>
	<description>R&amp;D "1 &lt; 2"</description>
<files>
	<file name="a &amp; b's &quot;&lt;c&gt;&quot;.iso">
		<verification>
			<hash type="md4">` + md5Hex + `</hash>
			<hash type="md5">` + md5Hex + `</hash>
			<hash type="sha1">` + sha1Hex + `</hash>
			<hash type="rmd160">` + sha1Hex + `</hash>
			<hash type="crc32">0a0a0a0a</hash>
			<hash type="ed2k">` + md5Hex + `</hash>
		</verification>
		<resources>
			<url type="magnet">magnet:?xt=urn:sha1:` + sha1Hex + `&amp;dn=a</url>
		</resources>
	</file>
</files>
</metalink>
`
	if diff := cmp.Diff(want3, v3(t, d)); diff != "" {
		t.Errorf("version 3 (-want +got):\n%s", diff)
	}
	want4 := `<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
<publisher><name>P</name></publisher>
	<file name="a &amp; b's &quot;&lt;c&gt;&quot;.iso">
		<description>R&amp;D "1 &lt; 2"</description>
		<hash type="md5">` + md5Hex + `</hash>
		<hash type="sha-1">` + sha1Hex + `</hash>
	</file>
</metalink>
`
	if diff := cmp.Diff(want4, v4(t, d)); diff != "" {
		t.Errorf("version 4 (-want +got):\n%s", diff)
	}
	for _, text := range []string{want3, want4} {
		back, err := Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"md5": md5Hex, "sha-1": sha1Hex}
		if f := back.Files[0]; f.Name != d.Files[0].Name || !cmp.Equal(f.Hashes, want) || f.URLs != nil {
			t.Errorf("read back: %+v", f)
		}
	}
}

// What XML cannot have at all does not make the document unreadable.
func TestWriteReplacesIllegal(t *testing.T) {
	d := iso()
	d.Generator = "a\x00\x1b\ufffe\xffb\tc"
	for _, write := range []func(*bytes.Buffer) error{func(b *bytes.Buffer) error { return d.WriteV3(b) }, func(b *bytes.Buffer) error { return d.WriteV4(b) }} {
		back, err := Parse(strings.NewReader(written(t, write)))
		if err != nil {
			t.Fatal(err)
		}
		if want := "a\ufffd\ufffd\ufffd\ufffdb\tc"; back.Generator != want {
			t.Errorf("generator %q, want %q", back.Generator, want)
		}
	}
}

// TestWriteEach: files that are made one by one are written as those of a list are,
// and none is asked for any more of a document that is too long.
func TestWriteEach(t *testing.T) {
	list := &Document{Generator: "test"}
	for i := range 100 {
		list.Files = append(list.Files, File{Name: fmt.Sprintf("dir/%d", i), Size: int64(i), Hashes: map[string]string{"md5": md5Hex}})
	}
	each := *list
	each.Files = nil
	each.Each = func(yield func(*File) bool) {
		var f File // the same each time
		for i := range list.Files {
			if f = list.Files[i]; !yield(&f) {
				return
			}
		}
	}
	if diff := cmp.Diff(v3(t, list)+v4(t, list), v3(t, &each)+v4(t, &each)); diff != "" {
		t.Errorf("(-list +each):\n%s", diff)
	}
	each.Each = func(func(*File) bool) {}
	if err := each.WriteV4(io.Discard); err == nil || !strings.Contains(err.Error(), "0 files") {
		t.Errorf("no files: %v", err)
	}
	asked := 0
	each.Each = func(yield func(*File) bool) {
		for ; yield(&File{Name: fmt.Sprint(strings.Repeat("x", 200), asked)}); asked++ {
		}
	}
	for _, write := range []func(io.Writer) error{each.WriteV3, each.WriteV4} {
		asked = 0
		if err := write(io.Discard); err == nil || !strings.Contains(err.Error(), "more than the limit") {
			t.Errorf("too long: %v", err)
		}
		if asked > MaxSize/200 {
			t.Errorf("%d files were asked for", asked)
		}
	}
}
