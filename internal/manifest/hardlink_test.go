package manifest

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linkedRelease is treeRelease with further names of its files: of the empty one
// and of the other one, which has three then, one of them in another folder.
func linkedRelease() *Manifest {
	m := treeRelease()
	empty, full := m.Files[0], m.Files[2]
	empty.Path, empty.Hardlink = "a/hollow", empty.Path
	full.Hardlink = full.Path
	second, third := full, full
	second.Path, third.Path = "c", "d/c"
	m.Files = []File{m.Files[0], empty, m.Files[1], m.Files[2], second, third}
	return m
}

func TestHardLinks(t *testing.T) {
	k := testKey(t)
	m := linkedRelease()
	data := mustEncode(t, m)
	got, _, err := Open(k.Public(), data, Sign(k, data, ""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("manifest changed on its way:\n%s", diff)
	}
	want, err := treeRelease().Layout()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := m.Layout(); err != nil || !cmp.Equal(l.Files, want.Files) {
		t.Errorf("layout is not that without hard links: %v", err)
	}
	if m.SameContent(treeRelease()) || !m.SameContent(linkedRelease()) {
		t.Error("hard links do not count as content")
	}
	apart := linkedRelease()
	apart.Files[4].Hardlink = ""
	if apart.SameContent(m) {
		t.Error("a copy counts as a hard link")
	}
}

// TestEncodingStays: what has no hard links is what nodes that know nothing of
// them read and write.
func TestEncodingStays(t *testing.T) {
	for want, m := range map[string]*Manifest{
		"f11fa6a8e1ac85cee1530908647b2c0b0bd6c9cc2aa7684e5683903efdfed168": fileRelease(),
		"96c912e408db3f109276857d39b8f08b4a6294ec3a04cc9753968701f00101bd": treeRelease(),
	} {
		if got := ID(mustEncode(t, m)); got != want {
			t.Errorf("%s has the ID %s, it was %s", m.Name, got, want)
		}
	}
}

func TestBrokenHardLinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Manifest)
		want  string
	}{
		{"itself", func(m *Manifest) { m.Files[4].Hardlink = "c" }, "no file before"},
		{"later one", func(m *Manifest) { m.Files[3].Hardlink = "c" }, "no file before"},
		{"circle", func(m *Manifest) { m.Files[4].Hardlink, m.Files[5].Hardlink = "d/c", "c" }, "no file before"},
		{"nothing", func(m *Manifest) { m.Files[4].Hardlink = "b" }, "no file before"},
		{"folder", func(m *Manifest) { m.Files[4].Hardlink = "a" }, "no file before"},
		{"outside", func(m *Manifest) { m.Files[4].Hardlink = "../b" }, "no file before"},
		{"absolute", func(m *Manifest) { m.Files[4].Hardlink = "/etc/passwd" }, "no file before"},
		{"chain", func(m *Manifest) { m.Files[5].Hardlink = "c" }, "a link itself"},
		{"symlink", func(m *Manifest) { m.Files[4].Hardlink = "a/link" }, "a link itself"},
		{"is a symlink", func(m *Manifest) { m.Files[2].Hardlink = "a/empty" }, "hard link"},
		{"size", func(m *Manifest) { m.Files[4].Size-- }, "differ"},
		{"mode", func(m *Manifest) { m.Files[4].Mode = 0o600 }, "differ"},
		{"time", func(m *Manifest) { m.Files[4].MTime++ }, "differ"},
		{"sha256", func(m *Manifest) { m.Files[4].SHA256 = strings.Repeat("cd", 32) }, "differ"},
		{"md5", func(m *Manifest) { m.Files[4].MD5 = strings.Repeat("cd", 16) }, "differ"},
		{"bytes counted twice", func(m *Manifest) { m.Size += m.Files[4].Size }, "sum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := linkedRelease()
			c.spoil(m)
			if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Encode: error %v, want one with %q", err, c.want)
			}
			k := testKey(t)
			data, err := m.marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(k.Public(), data, Sign(k, data, "")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: error %v, want ErrMalformed with %q", err, c.want)
			}
		})
	}
	single := fileRelease()
	single.Files[0].Hardlink = "site.tar"
	if _, err := single.Encode(); err == nil {
		t.Error("a release of a single file may be a hard link")
	}
}

func TestLinkedBeside(t *testing.T) {
	// Each word is a file's names, the first one as it is in Hardlink.
	of := func(groups string) *Manifest {
		m := &Manifest{}
		for _, g := range strings.Fields(groups) {
			for i := range len(g) {
				f := File{Path: g[i : i+1]}
				if i > 0 {
					f.Hardlink = g[:1]
				}
				m.Files = append(m.Files, f)
			}
		}
		// The names of all groups are in the order of the alphabet already, or
		// this sorts them.
		for i := range m.Files {
			for k := i; k > 0 && m.Files[k].Path < m.Files[k-1].Path; k-- {
				m.Files[k], m.Files[k-1] = m.Files[k-1], m.Files[k]
			}
		}
		return m
	}
	for _, c := range []struct {
		name, before, after string
		same                bool
	}{
		{"nothing", "ab c", "ab c", true},
		{"apart", "ab c", "a b c", false},
		{"together", "a b c", "ab c", false},
		{"first goes", "abc", "bc", true},
		{"first goes, rest apart", "abc", "b c", false},
		{"one before", "bc", "abc", true},
		{"one more", "a c", "ab c", true},
		{"one less", "abc", "ac", true},
		{"to another", "ab cd", "ad bc", false},
		{"two made one", "ab cd", "abcd", false},
		{"all new", "ab", "cd", true},
	} {
		before, after := of(c.before), of(c.after)
		if x, y := before.LinkedBeside(after), after.LinkedBeside(before); maps.Equal(x, y) != c.same {
			t.Errorf("%s: %s to %s: %v and %v, same should be %v", c.name, c.before, c.after, x, y, c.same)
		}
	}
}
