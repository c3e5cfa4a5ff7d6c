package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// linked has a file with three names, an empty one with two, and two that are
// alike and not linked.
func linked(serial uint64) *fixture {
	return makeFixture("web", "site", serial, map[string]string{"./": "", "a": strings.Repeat("linked", 500), "d/b => a": "", "d/e/c => a": "",
		"empty": "", "none => empty": "", "x": "alike", "y": "alike"})
}

// sameFile says whether two paths of a release are one file.
func sameFile(t *testing.T, r *Release, a, b string) bool {
	t.Helper()
	x, _ := stat(t, r, a)
	y, _ := stat(t, r, b)
	return os.SameFile(x, y)
}

// wantLinks fails the test unless the release links what its manifest links, and
// nothing else.
func wantLinks(t *testing.T, s *Store, r *Release) {
	t.Helper()
	wantSound(t, s, r.ID)
	first := func(f manifest.File) string {
		if f.Hardlink != "" {
			return f.Hardlink
		}
		return f.Path
	}
	for _, x := range r.Manifest.Files {
		for _, y := range r.Manifest.Files {
			if want := first(x) == first(y); sameFile(t, r, x.Path, y.Path) != want {
				t.Errorf("serial %d: %s and %s are one file: %v, want %v", r.Manifest.Serial, x.Path, y.Path, !want, want)
			}
		}
	}
}

func TestHardLinksAreMade(t *testing.T) {
	for name, dir := range disks(t) {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, dir)
			f := linked(1)
			r := stage(t, s, f)
			check(t, f.fetch(r))
			// What is in the way: another file, a folder, a symlink.
			at := func(p string) string { return filepath.Join(r.ContentRoot(), "site", p) }
			check(t, errors.Join(os.MkdirAll(at("d/e/c/deep"), 0o755), os.WriteFile(at("d/b"), []byte("other"), 0o600), os.Symlink("a", at("none"))))
			r, err := s.Commit(t.Context(), f.id)
			check(t, err)
			wantLinks(t, s, r)
			st, sys := stat(t, r, "d/e/c")
			if sys.Nlink != 3 || st.Mode().Perm() != 0o640 || st.ModTime().Unix() != 1_600_000_000 || st.Size() != 3000 {
				t.Errorf("%d names, mode %v, time %v, %d bytes", sys.Nlink, st.Mode(), st.ModTime(), st.Size())
			}
			if left := list(t, s.abs(tmpDir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestHardLinksOverReleases: files are linked between releases too, which must
// neither join nor part what is in one of them.
func TestHardLinksOverReleases(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	reuse := func(f *fixture) *Release {
		stage(t, s, f)
		_, err := s.Reuse(t.Context(), f.id, ReuseLink, all)
		check(t, err)
		r, err := s.Commit(t.Context(), f.id)
		check(t, err)
		wantLinks(t, s, r)
		return r
	}
	first := complete(t, s, linked(1))
	wantLinks(t, s, first)
	// The same again shares all, and each of two that are alike is what it was.
	second := reuse(linked(2))
	for _, p := range []string{"a", "x", "y"} {
		_, was := stat(t, first, p)
		if _, is := stat(t, second, p); was.Ino != is.Ino {
			t.Errorf("%s was copied", p)
		}
	}
	// What was linked is apart, what was alike is linked, and one has become two.
	text := strings.Repeat("linked", 500)
	reuse(makeFixture("web", "site", 3, map[string]string{"a": text, "d/b": text, "m/c": text, "m/d => d/b": "", "x": "alike", "z => x": ""}))
	reuse(makeFixture("web", "site", 4, map[string]string{"new/x": "alike", "new/y": "alike", "new/z": "alike"}))
	reuse(linked(5))
	for _, r := range s.Releases() {
		wantLinks(t, s, r)
	}
	// Removing some takes nothing from others.
	_, err := s.Prune(t.Context(), 1, func(id string) bool { return id == linked(5).id })
	check(t, err)
	for _, r := range s.Releases() {
		wantLinks(t, s, r)
	}
}

// TestAlikeFilesAreParted: releases of other versions have files that share an
// inode and are no hard links. What is staged by a link to both, in two runs of
// which one knows nothing of the other, is parted as well.
func TestAlikeFilesAreParted(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := makeFixture("web", "site", 1, map[string]string{"x": "alike", "y": "alike", "z": "alike"})
	r := stage(t, s, f)
	check(t, f.fetch(r))
	at := func(p string) string { return filepath.Join(r.ContentRoot(), "site", p) }
	for _, p := range []string{"y", "z"} {
		check(t, errors.Join(os.Remove(at(p)), os.Link(at("x"), at(p))))
	}
	check(t, s.Close())
	s = mustOpen(t, s.Dir())
	r, err := s.Commit(t.Context(), f.id)
	check(t, err)
	wantLinks(t, s, r)
	// And those that have mode and time already.
	f = makeFixture("web", "site", 2, f.files)
	old := r
	r = stage(t, s, f)
	check(t, os.MkdirAll(at("."), 0o755))
	for _, p := range []string{"x", "y", "z"} {
		check(t, os.Link(filepath.Join(old.ContentRoot(), "site/x"), at(p)))
	}
	r, err = s.Commit(t.Context(), f.id)
	check(t, err)
	wantLinks(t, s, r)
	wantLinks(t, s, old)
}

func TestTooManyHardLinks(t *testing.T) {
	full := true
	s, err := open(t.TempDir(), options{step: func(o op) error {
		if full && o.kind == "make link" && strings.HasSuffix(o.path, "d/e/c") {
			full = false
			return unix.EMLINK
		}
		return nil
	}})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	first := complete(t, s, linked(1))
	wantLinks(t, s, first) // the first one is full already
	full = true
	next := linked(2)
	stage(t, s, next)
	_, err = s.Reuse(t.Context(), next.id, ReuseLink, all)
	check(t, err)
	second, err := s.Commit(t.Context(), next.id)
	check(t, err)
	wantLinks(t, s, second)
	wantLinks(t, s, first)
	if full || sameFileOf(t, first, second, "a") || !sameFileOf(t, first, second, "x") {
		t.Error("the file that had too many names was not made anew, or another one was")
	}
}

func sameFileOf(t *testing.T, x, y *Release, p string) bool {
	t.Helper()
	a, _ := stat(t, x, p)
	b, _ := stat(t, y, p)
	return os.SameFile(a, b)
}

func TestNoHardLinksOnThisDisk(t *testing.T) {
	s, err := open(t.TempDir(), options{step: func(o op) error {
		if o.kind == "make link" {
			return unix.EPERM
		}
		return nil
	}})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	f := linked(1)
	check(t, f.fetch(stage(t, s, f)))
	if _, err := s.Commit(t.Context(), f.id); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "publish copies") {
		t.Errorf("error %v", err)
	}
}

// linkDifferences are what can be wrong with hard links: what is found then, and
// whether the pieces of a file are needed to put it right.
var linkDifferences = map[string]struct {
	spoil  func(root string) error
	want   []string
	pieces bool
}{
	"copy":         {spoil: func(r string) error { return unlink(r, "d/b") }, want: []string{"site/d/b hardlink"}},
	"copy of none": {spoil: func(r string) error { return unlink(r, "none") }, want: []string{"site/none hardlink"}},
	"damaged copy": {spoil: func(r string) error { return errors.Join(unlink(r, "d/b"), flip(r+"/d/b", 7)) }, want: []string{"site/d/b hardlink"}},
	"missing name": {spoil: func(r string) error { return os.Remove(r + "/d/e/c") }, want: []string{"site/d/e/c missing"}},
	"symlink":      {spoil: func(r string) error { return relink(r+"/d/b", "../a") }, want: []string{"site/d/b type"}},
	"folder":       {spoil: func(r string) error { return errors.Join(os.Remove(r+"/d/b"), os.MkdirAll(r+"/d/b/x", 0o755)) }, want: []string{"site/d/b type", "site/d/b/x extra"}},
	// The first name has gone, and the others still have the bytes.
	"missing first": {spoil: func(r string) error { return os.Remove(r + "/a") }, want: []string{"site/a missing"}},
	// They are all one file, and it is damaged.
	"flipped byte": {spoil: func(r string) error { return flip(r+"/d/b", 2000) }, want: []string{"site/a hash"}, pieces: true},
	"parted and damaged": {spoil: func(r string) error { return errors.Join(unlink(r, "a"), flip(r+"/a", 2000)) },
		want: []string{"site/a hash", "site/d/b hardlink", "site/d/e/c hardlink"}},
	"all copies": {spoil: func(r string) error { return errors.Join(unlink(r, "d/b"), unlink(r, "d/e/c")) }, want: []string{"site/d/b hardlink", "site/d/e/c hardlink"}},
	"mode":       {spoil: func(r string) error { return os.Chmod(r+"/d/b", 0o600) }, want: []string{"site/a mode"}},
}

// unlink makes a name of a file a copy of it.
func unlink(root, name string) error {
	file := filepath.Join(root, name)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(file), os.WriteFile(file, b, 0o640), os.Chmod(file, 0o640))
}

func TestHardLinksAreMended(t *testing.T) {
	for name, c := range linkDifferences {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			f := linked(1)
			r := complete(t, s, f)
			_, err := s.Activate(t.Context(), f.id)
			check(t, err)
			check(t, c.spoil(filepath.Join(r.ContentRoot(), "site")))
			rep := mustCheck(t, s, f.id)
			var got []string
			for _, p := range rep.Problems {
				got = append(got, p.Path+" "+p.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("problems %v, want %v", rep.Problems, c.want)
			}
			m, err := s.Mend(t.Context(), rep, nil)
			check(t, err)
			if left := len(m.Left.Problems) > 0; left != c.pieces {
				t.Errorf("without pieces, %v is left", m.Left.Problems)
			}
			rep = mustCheck(t, s, f.id)
			m, err = s.Mend(t.Context(), rep, pieceOf(f))
			check(t, err)
			if len(m.Left.Problems) > 0 {
				t.Errorf("left: %v", m.Left)
			}
			wantLinks(t, s, r)
			wantLive(t, s, f)
			if left := list(t, s.abs(tmpDir)); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

// TestHardLinksAreMendedEverywhere damages a file that two releases share, under
// several names each.
func TestHardLinksAreMendedEverywhere(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	first := complete(t, s, linked(1))
	next := linked(2)
	stage(t, s, next)
	_, err := s.Reuse(t.Context(), next.id, ReuseLink, all)
	check(t, err)
	second, err := s.Commit(t.Context(), next.id)
	check(t, err)
	check(t, flip(filepath.Join(first.ContentRoot(), "site/d/b"), 2000))
	m, err := s.Mend(t.Context(), mustCheck(t, s, second.ID), pieceOf(next))
	check(t, err)
	if m.Files[first.ID] != 3 || m.Files[second.ID] != 3 {
		t.Errorf("files by release: %v", m.Files)
	}
	wantLinks(t, s, first)
	wantLinks(t, s, second)
	if !sameFileOf(t, first, second, "a") {
		t.Error("the releases do not share the file any more")
	}
}

func TestChangesOfHardLinks(t *testing.T) {
	of := func(files map[string]string) *manifest.Manifest { return makeFixture("web", "site", 1, files).m }
	three := map[string]string{"a": "x", "b => a": "", "c => a": "", "d": "x"}
	for _, c := range []struct {
		name  string
		after map[string]string
		want  string
	}{
		{"the same", three, ""},
		{"parted", map[string]string{"a": "x", "b": "x", "c => a": "", "d": "x"}, "M\tb\n"},
		{"joined", map[string]string{"a": "x", "b => a": "", "c => a": "", "d => a": ""}, "M\td\n"},
		{"the first name goes", map[string]string{"b": "x", "c => b": "", "d": "x"}, "D\ta\n"},
		{"one more", map[string]string{"0": "x", "a => 0": "", "b => 0": "", "c => 0": "", "d": "x"}, "A\t0\n"},
		{"other bytes", map[string]string{"a": "y", "b => a": "", "c => a": "", "d": "x"}, "M\ta\nM\tb\nM\tc\n"},
	} {
		if got := string(changes(of(three), of(c.after))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
