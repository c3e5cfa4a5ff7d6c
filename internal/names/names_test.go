package names

import (
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	for _, p := range []string{"a", "a/b.txt", "Grüße/ß", "..a", "a b", strings.Repeat("d/", 31) + "f", strings.Repeat("x", 255)} {
		if err := Path(p); err != nil {
			t.Errorf("%q refused: %v", p, err)
		}
	}
	for _, p := range []string{
		"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "a\x00b", "a\nb", "a\x7f", "\xff",
		"e\u0301", // not NFC
		strings.Repeat("x", 256), strings.Repeat("d/", 32) + "f", strings.Repeat("abcdefg/", 130) + "f",
	} {
		if err := Path(p); err == nil {
			t.Errorf("%q accepted", p)
		}
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		paths []string
		want  string // part of the error, "" for none
	}{
		{[]string{"a/b", "a/c", "d"}, ""},
		{[]string{"a/", "a/b"}, ""},
		{[]string{"a/b", "a/"}, ""},
		{[]string{"a", "a"}, "twice"},
		{[]string{"a/", "a/"}, "twice"},
		{[]string{"a", "A"}, "case"},
		{[]string{"straße", "STRASSE"}, "case"},
		{[]string{"a/b", "A/c"}, "case"},
		{[]string{"a", "a/b"}, "folder"},
		{[]string{"a/b", "a"}, "folder"},
		{[]string{"a/", "a"}, "folder"},
		{[]string{"a/b", "a/c", "a"}, "folder"},
		{[]string{"a/b", "a/c", "a/B"}, "case"},
		{[]string{"a/b/c", "a/b/d", "a/b"}, "folder"},
		{[]string{"a/b/c", "a/b/d", "a/B/c"}, "case"},
		{[]string{"a/b", "a/b/c", "a/b/d"}, "folder"},
	} {
		var s Set
		var err error
		for _, p := range c.paths {
			if dir, ok := strings.CutSuffix(p, "/"); ok {
				err = s.AddDir(dir)
			} else {
				err = s.Add(p)
			}
			if err != nil {
				break
			}
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: error %v, want one with %q", c.paths, err, c.want)
		}
	}
}

func TestChannel(t *testing.T) {
	for _, c := range []string{"web", "a", "free-bsd_8.4", "0"} {
		if err := Channel(c); err != nil {
			t.Errorf("%q refused: %v", c, err)
		}
	}
	for _, c := range []string{"", ".a", "-a", "Web", "a/b", "a b", "é", strings.Repeat("a", 64)} {
		if err := Channel(c); err == nil {
			t.Errorf("%q accepted", c)
		}
	}
}

func TestZone(t *testing.T) {
	for _, z := range []string{"dc1", "A", "eu-west_2", "-", strings.Repeat("z", 63)} {
		if err := Zone(z); err != nil {
			t.Errorf("%q refused: %v", z, err)
		}
	}
	for _, z := range []string{"", "a b", "a.b", "dc/1", "é", "a\x00", strings.Repeat("z", 64)} {
		if err := Zone(z); err == nil {
			t.Errorf("%q accepted", z)
		}
	}
}

func TestSymlink(t *testing.T) {
	for _, c := range [][2]string{{"a", "b"}, {"d/a", "../b"}, {"d/e/a", "../../b/./c"}} {
		if err := Symlink(c[0], c[1]); err != nil {
			t.Errorf("%q -> %q refused: %v", c[0], c[1], err)
		}
	}
	for _, c := range [][2]string{{"a", ""}, {"a", "/etc/passwd"}, {"a", "../b"}, {"d/a", "x/../../../b"}, {"a", "b\x00"}, {"a", "b/.."}, {"d/a", "b/../c"}} {
		if err := Symlink(c[0], c[1]); err == nil {
			t.Errorf("%q -> %q accepted", c[0], c[1])
		}
	}
}

func TestReleaseName(t *testing.T) {
	for _, n := range []string{".distd", ".distd-fetch", "a/b", ""} {
		if ReleaseName(n) == nil {
			t.Errorf("%q accepted", n)
		}
	}
	if err := ReleaseName("FreeBSD-8.4.iso"); err != nil {
		t.Error(err)
	}
}
