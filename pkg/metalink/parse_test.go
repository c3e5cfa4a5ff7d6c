package metalink

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// docV3 and docV4 put files into a document.
func docV3(files string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files>` + files + `</files></metalink>`
}

func docV4(files string) string {
	return `<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">` + files + `</metalink>`
}

// What other tools write: prefixes, elements and types that are not known,
// white space, upper case, comments, CDATA, URLs that cannot be used.
func TestParseV3(t *testing.T) {
	const text = "\ufeff" + `<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<!-- made by hand -->
<metalink xmlns="http://www.metalinker.org/" xmlns:x="urn:other" version="3.0" generator="http://metalinks.sourceforge.net/"
  type="dynamic" origin="http://o/f.metalink" pubdate="Mon, 15 May 2006 00:00:01 GMT">
 <publisher><name>P</name><url>http://p/</url></publisher>
 <files>
  <file name="dir/a b.iso">
   <identity>A</identity>
   <x:size>1</x:size>
   <size> 3 </size>
   <verification>
    <hash type="MD5"> 0A0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a </hash>
    <hash type="sha1"><![CDATA[1b1b1b1b1b1b1b1b1b1b]]><!-- half -->1b1b1b1b1b1b1b1b1b1b</hash>
    <hash type="tiger">zz</hash>
    <signature type="pgp" file="x.asc">-----BEGIN</signature>
    <pieces type="md5" length="2"><hash piece="0">0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a</hash><hash piece="1">0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a</hash></pieces>
    <pieces type="sha1" length="2"><other/><hash piece="0">1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b</hash><hash piece="1">1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b</hash></pieces>
    <pieces type="ed2k" length="x"/>
   </verification>
   <resources maxconnections="5">
    <url type="http" location="UK" preference=" 90 " maxconnections="2">
      http://a/x?y=1&amp;z=2&#x26;w
    </url>
    <url type="ftp" preference="0">ftp://b/x</url>
    <url preference="200">https://c/x</url>
    <url preference="high">https://d/x</url>
    <url type="http" preference="10">internal 10 http http://bt.master/x</url>
    <url type="rsync">rsync://e/x</url>
    <url type="magnet">magnet:?xt=urn:sha1:ABC</url>
    <url type="http">//nohost</url>
    <url/>
    <url type="BitTorrent" location="internal" preference="100">http://t/x.torrent</url>
   </resources>
  </file>
  <file name="empty"/>
 </files>
</metalink>
`
	got, err := Parse(iotest.OneByteReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Document{
		Generator: "http://metalinks.sourceforge.net/", Dynamic: true, Origin: "http://o/f.metalink", Published: time.Date(2006, 5, 15, 0, 0, 1, 0, time.UTC),
		Files: []File{
			{
				Name: "dir/a b.iso", Size: 3, Hashes: map[string]string{"md5": md5Hex, "sha-1": sha1Hex},
				Pieces: &Pieces{Type: "sha-1", Length: 2, Hashes: []string{sha1Hex, sha1Hex}},
				URLs: []URL{
					{URL: "http://a/x?y=1&z=2&w", Priority: 11, Location: "uk", Type: "http", MaxConnections: 2},
					{URL: "ftp://b/x", Priority: LowestPriority, Type: "ftp"},
					{URL: "https://c/x", Priority: LowestPriority, Type: "https"},
					{URL: "https://d/x", Priority: LowestPriority, Type: "https"},
				},
				Torrents:   []URL{{URL: "http://t/x.torrent", Priority: 1, Location: "internal", Type: "torrent"}},
				Signatures: []Signature{{MediaType: SignaturePGP, Text: "-----BEGIN"}},
			},
			{Name: "empty", Size: -1, Hashes: map[string]string{}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestParseV4(t *testing.T) {
	const text = `<m:metalink xmlns:m="urn:ietf:params:xml:ns:metalink">
 <m:generator> g/1 </m:generator><m:origin dynamic="1">ftp://o/x</m:origin><m:published>2009-05-15T12:23:23+02:00</m:published><m:updated>x</m:updated>
 <m:file name="d/f">
  <m:size>0</m:size><m:language>en</m:language>
  <m:hash type="sha-256">` + "2C2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c" + `</m:hash>
  <m:url location="DE" priority="1">http://a/f</m:url><m:url>http://b/f</m:url>
  <m:metaurl mediatype="torrent" priority="2" name="d/f in the torrent">http://t/f.torrent</m:metaurl>
  <m:signature mediatype="application/x-other"> s1 </m:signature><m:signature mediatype="pgp">s2</m:signature><m:signature/>
  <m:metaurl mediatype="application/xml">http://t/f.xml</m:metaurl>
  <m:verification><m:size>7</m:size></m:verification>
  <url>http://other/namespace</url>
 </m:file>
 <m:files><m:file name="not in version 4"/></m:files>
</m:metalink>`
	got, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Document{
		Generator: "g/1", Dynamic: true, Origin: "ftp://o/x", Published: time.Date(2009, 5, 15, 10, 23, 23, 0, time.UTC),
		Files: []File{{
			Name: "d/f", Hashes: map[string]string{"sha-256": sha256Hex},
			URLs:       []URL{{URL: "http://a/f", Priority: 1, Location: "de", Type: "http"}, {URL: "http://b/f", Priority: LowestPriority, Type: "http"}},
			Torrents:   []URL{{URL: "http://t/f.torrent", Priority: 2, Type: "torrent", Name: "d/f in the torrent"}},
			Signatures: []Signature{{MediaType: "application/x-other", Text: "s1"}, {MediaType: SignaturePGP, Text: "s2"}},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestParseRefuses(t *testing.T) {
	file := func(inner string) string { return docV4(`<file name="a">` + inner + `</file>`) }
	file3 := func(inner string) string { return docV3(`<file name="a">` + inner + `</file>`) }
	one := file("<size>1</size>")
	for _, c := range []struct{ in, want string }{
		{"", "ends too early"},
		{"d8:announce", "ends too early"},
		{"<html><body>404</body></html>", `"html"`},
		{`<metalink xmlns="urn:other"/>`, "no metalink of version 3 or 4"},
		{"<metalink/>", "no metalink of version 3 or 4"},
		{docV3(""), "describes no file"},
		{one[:len(one)-5], "bad XML"},
		{one + one, "not allowed"},
		{one + "x", "behind its end"},
		{one + "<b/>", "behind its end"},
		{"<!DOCTYPE metalink>" + one[21:], "document type"},
		{`<!DOCTYPE m [<!ENTITY a "b">]>` + one[21:], "document type"},
		{`<!DOCTYPE m SYSTEM "file:///etc/passwd">` + one[21:], "document type"},
		{file(`<!DOCTYPE x>`), "document type"},
		{file("<size>&one;</size>"), "entities are not allowed"},
		{docV4(`<file name="&x;"/>`), "entities are not allowed"},
		{`<?xml-stylesheet href="x"?>` + one[21:], `processing instruction "xml-stylesheet"`},
		{file("<?php x?>"), `processing instruction "php"`},
		{one + "<?xml version='1.0'?>", "processing instruction"},
		{`<?xml version="1.0" encoding="latin1"?>` + one[21:], "only UTF-8"},
		{`<?xml version="1.1"?>` + one[21:], "version"},
		{file("<size>\xff</size>"), "bad XML"},
		{file("<size>\x00</size>"), "bad XML"},
		{file("<a></b>"), "bad XML"},
		{file("<size>-1</size>"), `size "-1" is not a number of bytes`},
		{file("<size>1e3</size>"), "size"},
		{file("<size/>"), "size"},
		{file("<size>99999999999999999999</size>"), "size"},
		{file("<size>1125899906842625</size>"), `file "a": size 1125899906842625`},
		{file(`<hash type="md5">12</hash>`), "md5 hash"},
		{file(`<hash type="sha-256">` + sha1Hex + `</hash>`), "sha-256 hash"},
		{file(`<hash type="md5">` + md5Hex + `</hash><hash type="md5">` + sha1Hex[:32] + `</hash>`), "two different md5"},
		{file(`<pieces type="sha-1" length="0"></pieces>`), "length 0"},
		{file(`<pieces type="sha-1" length="x"></pieces>`), "not a number"},
		{file(`<pieces type="sha-1" length="99999999999"></pieces>`), "length 99999999999"},
		{file(`<pieces type="sha-1" length="1"></pieces>`), "no hashes"},
		{file(`<size>5</size><pieces type="sha-1" length="2"><hash>` + sha1Hex + `</hash></pieces>`), "5 bytes in pieces of 2 are 3"},
		{file(`<pieces type="sha-1" length="2"><hash>xx</hash></pieces>`), "piece 0"},
		{file3(`<verification><pieces type="sha1" length="2"><hash piece="1">` + sha1Hex + `</hash></pieces></verification>`), `hash of piece "1" stands where that of piece 0`},
		{file(`<url priority="0">http://a/</url>`), `priority "0"`},
		{file(`<url priority="1000000">http://a/</url>`), `priority "1000000"`},
		{file(`<metaurl mediatype="torrent" priority="-1">http://a/</metaurl>`), `priority "-1"`},
		{file(`<metaurl mediatype="torrent" name="../x">http://a/</metaurl>`), "torrent: path"},
		{docV4(`<file/>`), "empty"},
		{docV4(`<file name="../../etc/passwd"/>`), `".." is not allowed`},
		{docV3(`<file name="../a"/>`), `".." is not allowed`},
		{docV3(`<file name="a/../../b"/>`), `".." is not allowed`},
		{docV4(`<file name="./a"/>`), `"." is not allowed`},
		{docV4(`<file name="/a"/>`), "empty"},
		{docV4(`<file name="a\b"/>`), "backslash"},
		{docV4(`<file name="a&#10;b"/>`), "control character"},
		{docV4(`<file name="a"/><file name="a"/>`), "appears twice"},
		{docV4(`<file name="a"/><file name="A"/>`), "differ only in case"},
		{docV4(`<file name="a"/><file name="a/b"/>`), "a file and a folder"},
		{docV4(`<file name="` + strings.Repeat("x", 2000) + `"/>`), "longer than 1024"},
		{file(strings.Repeat("<a>", 40)), "more than 32 levels"},
		{docV4(strings.Repeat("<a>", 1<<20)), "more than 32 levels"},
		{docV3(strings.Repeat("<files>", 40)), "more than 32 levels"},
		{file("<size>" + strings.Repeat(" ", maxRun) + "1</size>"), "element or text is larger"},
		{file("<size>" + strings.Repeat("<![CDATA["+strings.Repeat(" ", maxRun/2)+"]]>", 3) + "1</size>"), "text is larger"},
		{file("<a " + strings.Repeat(`b="c" `, maxRun/6+1) + "/>"), "element or text is larger"},
		{file("<!--" + strings.Repeat("x", maxRun) + "-->"), "element or text is larger"},
		{file(strings.Repeat("<signature>x</signature>", MaxSignatures+1)), "more than 16 signatures"},
		{file("<signature>" + strings.Repeat("x", MaxSignature+1) + "</signature>"), "signature of 8193 bytes"},
		{file(strings.Repeat("<url>http://a/</url>", MaxURLs+1)), "more than 1000 URLs"},
		{file3(strings.Repeat(`<url type="bittorrent">http://a/</url>`, MaxURLs+1)), "more than 1000 URLs"},
	} {
		_, err := Parse(strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.300s\n error %v, want one with %q", c.in, err, c.want)
		}
		if err != nil && len(err.Error()) > 3000 {
			t.Errorf("message of %d bytes", len(err.Error()))
		}
	}
}

// repeat endlessly reads text after start, and counts what is read.
type repeat struct {
	rest, text string
	n          int
}

func (r *repeat) Read(b []byte) (int, error) {
	if r.rest == "" {
		r.rest = r.text
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	r.n += n
	return n, nil
}

func TestParseBoundsDocument(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"<!-- " + strings.Repeat("x", 1000) + " -->", "larger than 16777216 bytes"},
		{"<file name='a'><size>1</size></file>", "appears twice"},
		{"<x>" + strings.Repeat("y", 1000) + "</x>", "larger than 16777216 bytes"},
		{"x", "element or text is larger than 65536 bytes"},
	} {
		r := &repeat{rest: `<metalink xmlns="urn:ietf:params:xml:ns:metalink">`, text: c.text}
		_, err := Parse(r)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("endless %.20q: error %v, want one with %q", c.text, err, c.want)
		}
		if r.n > MaxSize+8192 {
			t.Errorf("endless %.20q: %d bytes read", c.text, r.n)
		}
	}
}

func TestParseBoundsFiles(t *testing.T) {
	var many, deep strings.Builder
	for i := range MaxFiles + 1 {
		fmt.Fprintf(&many, `<file name="%d"/>`, i)
	}
	for i := range 60_000 {
		fmt.Fprintf(&deep, `<file name="%d%s"/>`, i, strings.Repeat("/a", 31))
	}
	for text, want := range map[string]string{many.String(): "more than 100000 files", deep.String(): "too many folders"} {
		_, err := Parse(strings.NewReader(docV4(text)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestParseReadError(t *testing.T) {
	broken := errors.New("connection reset")
	for _, start := range []string{"", "<metalink", docV4(`<file name="a"/>`)} {
		_, err := Parse(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %q: error %v", start, err)
		}
	}
}
