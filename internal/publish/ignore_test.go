package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIgnore(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a.log", "a.txt", "build/keep/x", "build/keep.me", "build/out/o", "build/sub/deep/keep.me", "cache/x", "d/a.log", "d/e/b.log", "d/e/c", "tmp/x", "tmpl/x"} {
		b.write("site/"+name, []byte(name))
	}
	b.write("site/.distdignore", []byte("# comment\r\n\n*.log\r\n /build \n!build/keep\n!**/keep.me\ntmp/\n**/e/*\n!.distdignore\n"))
	o := Options{Path: filepath.Join(b.src, "site"), Channel: "web", Exclude: []string{"cache"}}
	if err := os.Symlink("/etc/passwd", filepath.Join(b.src, "site/tmp/link")); err != nil { // it could not be published
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.src, "site/d/forbidden"), 0); err != nil {
		t.Fatal(err)
	}
	o.Exclude = append(o.Exclude, "d/forbidden")
	res, err := b.try(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	m := b.st.Releases()[0].Manifest
	var got []string
	for _, f := range m.Files {
		got = append(got, f.Path)
	}
	for _, d := range m.Dirs {
		got = append(got, d.Path+"/")
	}
	want := "a.txt build/keep.me build/keep/x build/sub/deep/keep.me d/a.log tmpl/x ./ build/ build/keep/ build/sub/ build/sub/deep/ d/ d/e/ tmpl/"
	if strings.Join(got, " ") != want {
		t.Errorf("published are %s,\nwant %s", strings.Join(got, " "), want)
	}
	if again, err := b.try(t.Context(), o); err != nil || !again.Unchanged || again.ID != res.ID {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestIgnoredFoldersAreNotEntered: they may be huge, or not to be read at all.
func TestIgnoredFoldersAreNotEntered(t *testing.T) {
	b := newBench(t)
	b.write("site/a", []byte("x"))
	b.write("site/.distdignore", []byte("node_modules\n!other/*\n"))
	for _, dir := range []string{"node_modules", "other"} {
		b.mkdir("site/" + dir)
		b.symlink("/outside", "site/"+dir+"/bad")
	}
	g, err := OpenIgnore(filepath.Join(b.src, "site"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"node_modules": true, "other": false, "sub/node_modules": false} {
		if g.LeaveOut(path, true) != want {
			t.Errorf("%s is left out: %v", path, !want)
		}
	}
	err = b.refused(Options{Path: filepath.Join(b.src, "site")}, "other/bad")
	if strings.Contains(err.Error(), "node_modules") {
		t.Error(err)
	}
}

func TestBadIgnore(t *testing.T) {
	b := newBench(t)
	b.write("site/a", []byte("x"))
	o := Options{Path: filepath.Join(b.src, "site")}
	b.write("site/.distdignore", []byte("ok\n[a-\n"))
	b.refused(o, ".distdignore line 2", "syntax error in pattern")
	b.write("site/.distdignore", []byte("ok\n\n!\n"))
	b.refused(o, ".distdignore line 3")
	b.write("site/.distdignore", make([]byte, maxIgnoreFile+1))
	b.refused(o, ".distdignore", "larger than")
	b.write("site/.distdignore", []byte(strings.Repeat("x\n", maxIgnorePatterns+1)))
	b.refused(o, "patterns are more than")
	if err := os.Remove(filepath.Join(o.Path, ".distdignore")); err != nil {
		t.Fatal(err)
	}
	b.mkdir("site/.distdignore")
	b.refused(o, ".distdignore", "not a file")
	if err := os.Remove(filepath.Join(o.Path, ".distdignore")); err != nil {
		t.Fatal(err)
	}
	o.Exclude = []string{"ok", "[a-"}
	b.refused(o, `"[a-" of -exclude`)
	o.Exclude = []string{"a"}
	b.refused(o, "no file in it")
}

// TestIgnoreKeepsWhatItMay: a folder that is skipped has nothing in it that
// would not be left out by itself.
func TestIgnoreKeepsWhatItMay(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	part := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?")), 1, 3, -1)
	rapid.Check(t, func(rt *rapid.T) {
		var lines []string
		for range rapid.IntRange(1, 5).Draw(rt, "lines") {
			p := strings.Join(rapid.SliceOfN(part, 1, 3).Draw(rt, "pattern"), "/")
			if rapid.Bool().Draw(rt, "exception") {
				p = "!" + p
			}
			lines = append(lines, p)
		}
		g, err := readIgnore(root, lines)
		if err != nil {
			rt.Skip(err)
		}
		name := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 2, -1)
		elems := rapid.SliceOfN(name, 2, 4).Draw(rt, "path")
		for i := 1; i < len(elems); i++ {
			dir, file := strings.Join(elems[:i], "/"), strings.Join(elems, "/")
			if g.LeaveOut(dir, true) && !g.LeaveOut(file, false) {
				rt.Errorf("with %q: %s is skipped, %s is not", lines, dir, file)
			}
		}
	})
}

func FuzzIgnoreLine(f *testing.F) {
	for _, s := range []string{"", "#", "!", "**/x", "[a-", `\`, "a/../b", "!!x", "\xff[", "[]a]"} {
		f.Add(s)
	}
	root, err := os.OpenRoot(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = root.Close() })
	f.Fuzz(func(t *testing.T, line string) {
		g, err := readIgnore(root, []string{line})
		if err == nil && g.pm != nil {
			if _, err := g.pm.MatchesOrParentMatches("a/b"); err != nil {
				t.Errorf("%q was taken, and fails: %v", line, err)
			}
		}
	})
}
