package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func all(int) bool { return true }

func stage(t *testing.T, s *Store, f *fixture) *Release {
	t.Helper()
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	return r
}

// reused names the files that were taken, by their paths.
func reused(t *testing.T, f *fixture, got *Reused) []string {
	t.Helper()
	lay, err := f.m.Layout()
	check(t, err)
	var out []string
	for _, i := range got.Files {
		out = append(out, strings.TrimPrefix(lay.Files[i].Path, f.m.Name+"/"))
	}
	slices.Sort(out)
	return out
}

func stat(t *testing.T, r *Release, p string) (fs.FileInfo, *syscall.Stat_t) {
	t.Helper()
	st, err := os.Lstat(filepath.Join(r.ContentRoot(), r.Manifest.ContentPath(p)))
	check(t, err)
	return st, st.Sys().(*syscall.Stat_t)
}

func TestReuse(t *testing.T) {
	before := map[string]string{"a": "one", "d/b": "two", "d/big": strings.Repeat("three", 999), "gone": "four", "twice": "five", "empty": ""}
	after := map[string]string{"a": "one", "moved/b": "two", "d/big": strings.Repeat("three", 999), "new": "six", "twice": "five", "again": "five", "empty": "", "d/l -> ../a": ""}
	shared := []string{"a", "again", "d/big", "moved/b", "twice"}
	for name, dir := range disks(t) {
		for _, c := range []struct {
			name           string
			how            ReuseMethod
			touch          bool // the new release has other times
			noLinks        bool
			failLinks      error
			linked, copied int
		}{
			{name: "link", how: ReuseLink, linked: 4, copied: 1},
			{name: "reflink", how: ReuseReflink, copied: 5},
			{name: "copy", how: ReuseCopy, copied: 5},
			{name: "link with other times", how: ReuseLink, touch: true, copied: 5},
			{name: "no links", how: ReuseLink, noLinks: true, copied: 5},
			{name: "too many links", how: ReuseLink, failLinks: unix.EMLINK, copied: 5},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				s, err := open(filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")), options{noHardLinks: c.noLinks, step: func(o op) error {
					if o.kind == "make link" {
						return c.failLinks
					}
					return nil
				}})
				check(t, err)
				t.Cleanup(func() { _ = s.Close() })
				first := makeFixture("web", "site", 1, before)
				old := complete(t, s, first)
				next := makeFixture("other", "site", 2, after)
				if c.touch {
					for i := range next.m.Files {
						next.m.Files[i].MTime += 10
					}
					data, err := next.m.Encode()
					check(t, err)
					next.id, next.meta.Manifest = idOf(data), data
				}
				r := stage(t, s, next)
				got, err := s.Reuse(t.Context(), next.id, c.how, all)
				check(t, err)
				if files := reused(t, next, got); !slices.Equal(files, shared) || got.Linked != c.linked || got.Copied != c.copied {
					t.Errorf("took %v, %d linked, %d copied", files, got.Linked, got.Copied)
				}
				if got.Bytes != int64(len("one"+"two"+"five"+"five")+5*999) {
					t.Errorf("%d bytes", got.Bytes)
				}
				check(t, os.WriteFile(filepath.Join(r.ContentRoot(), "site/new"), []byte("six"), 0o600))
				r, err = s.Commit(t.Context(), next.id)
				check(t, err)
				wantSound(t, s, old.ID)
				wantSound(t, s, r.ID)
				_, was := stat(t, old, "d/b")
				_, is := stat(t, r, "moved/b")
				if (was.Ino == is.Ino) != (c.linked > 0) {
					t.Errorf("inodes %d and %d", was.Ino, is.Ino)
				}
				if left := list(t, s.abs(tmpDir)); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

// TestReuseTrustsOnlyWhatIsAsItWas changes files of the old release in place.
func TestReuseTrustsOnlyWhatIsAsItWas(t *testing.T) {
	outside := t.TempDir()
	for name, change := range map[string]func(file string) error{
		"written": func(f string) error { return os.WriteFile(f, []byte("TWO"), 0o600) },
		"longer":  func(f string) error { return os.WriteFile(f, []byte("two and more"), 0o600) },
		"removed": os.Remove,
		"symlink": func(f string) error {
			_ = os.WriteFile(filepath.Join(outside, "b"), []byte("two"), 0o600)
			return errors.Join(os.Remove(f), os.Symlink(filepath.Join(outside, "b"), f))
		},
		"folder elsewhere": func(f string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(f)), os.Symlink(outside, filepath.Dir(f)))
		},
		"folder": func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o755)) },
		"pipe":   func(f string) error { return errors.Join(os.Remove(f), unix.Mkfifo(f, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			old := complete(t, s, makeFixture("web", "site", 1, map[string]string{"a": "one", "d/b": "two"}))
			check(t, change(filepath.Join(old.ContentRoot(), "site/d/b")))
			next := makeFixture("web", "site", 2, map[string]string{"a": "one", "d/b": "two", "c": "new"})
			stage(t, s, next)
			got, err := s.Reuse(t.Context(), next.id, ReuseLink, all)
			check(t, err)
			if files := reused(t, next, got); !slices.Equal(files, []string{"a"}) {
				t.Errorf("took %v", files)
			}
		})
	}
}

func TestReuseAgain(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	files := map[string]string{"a": "one", "b": "two", "c": "three"}
	complete(t, s, makeFixture("web", "site", 1, files))
	files["d"] = "new"
	next := makeFixture("web", "site", 2, files)
	r := stage(t, s, next)
	lay, err := next.m.Layout()
	check(t, err)
	// What another has put there stays.
	check(t, os.MkdirAll(filepath.Join(r.ContentRoot(), "site"), 0o755))
	check(t, os.WriteFile(filepath.Join(r.ContentRoot(), "site/b"), []byte("t"), 0o600))
	for range 2 {
		got, err := s.Reuse(t.Context(), next.id, ReuseLink, func(i int) bool { return lay.Files[i].Path != "site/c" })
		check(t, err)
		if files := reused(t, next, got); !slices.Equal(files, []string{"a"}) {
			t.Errorf("took %v", files)
		}
	}
	if b, err := os.ReadFile(filepath.Join(r.ContentRoot(), "site/b")); string(b) != "t" || err != nil {
		t.Errorf("b is now %q: %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Reuse(ctx, next.id, ReuseLink, all); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestReuseOnAFullDisk(t *testing.T) {
	full := false
	s, err := open(t.TempDir(), options{step: func(o op) error {
		if full && o.kind == "copy" {
			return unix.ENOSPC
		}
		return nil
	}})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	complete(t, s, makeFixture("web", "site", 1, map[string]string{"a": "one"}))
	next := makeFixture("web", "site", 2, map[string]string{"a": "one", "b": "two"})
	stage(t, s, next)
	full = true
	if got, err := s.Reuse(t.Context(), next.id, ReuseCopy, all); !errors.Is(err, unix.ENOSPC) || len(got.Files) > 0 {
		t.Errorf("took %v, error %v", got.Files, err)
	}
}

func TestTakeOver(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	old := makeFixture("web", "site", 1, map[string]string{"a": "one", "b": "two", "d/c": "three", "e": ""})
	r := stage(t, s, old)
	check(t, old.fetch(r))
	check(t, os.WriteFile(filepath.Join(r.ContentRoot(), "site/b"), []byte("tw"), 0o600))
	next := makeFixture("web", "site", 2, map[string]string{"x/a": "one", "b": "two", "d/c": "three", "f": "new"})
	to := stage(t, s, next)
	// Of the older release a is known to be whole, and b, which is not.
	got, err := s.TakeOver(t.Context(), next.id, old.id, func(i int) bool { return i < 2 }, all)
	check(t, err)
	if files := reused(t, next, got); !slices.Equal(files, []string{"x/a"}) || got.Bytes != 3 {
		t.Errorf("took %v, %d bytes", files, got.Bytes)
	}
	if b, err := os.ReadFile(filepath.Join(to.ContentRoot(), "site/x/a")); string(b) != "one" || err != nil {
		t.Errorf("x/a is %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(r.ContentRoot(), "site/a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a is still in the older release: %v", err)
	}
	// Of a complete release nothing is moved.
	done := complete(t, s, makeFixture("other", "site", 1, map[string]string{"f": "new"}))
	if got, err := s.TakeOver(t.Context(), next.id, done.ID, all, all); err != nil || len(got.Files) > 0 {
		t.Errorf("took %v from a complete release: %v", got.Files, err)
	}
	wantSound(t, s, done.ID)
}

// TestLacking: what a release needs is what no complete one has, wherever it lies
// there.
func TestLacking(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	old := makeFixture("web", "site", 1, map[string]string{"a": "one", "b": "twotwo"})
	next := makeFixture("web", "site", 2, map[string]string{"moved/a": "one", "b": "changed", "c": "changed", "d/l -> ../b": ""})
	if got := s.Lacking(next.m); got != 3+7+7 {
		t.Errorf("%d bytes lack in an empty store", got)
	}
	stage(t, s, old)
	if got := s.Lacking(next.m); got != 3+7+7 {
		t.Errorf("%d bytes lack beside an unfinished release", got)
	}
	complete(t, s, old)
	if got := s.Lacking(next.m); got != 7+7 {
		t.Errorf("%d bytes lack", got)
	}
}
