package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestForeignNamesAreNotReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"file":             {func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) }, "a file"},
		"folder":           {func(p string) error { return os.Mkdir(p, 0o700) }, "a folder"},
		"symlink":          {func(p string) error { return os.Symlink("elsewhere", p) }, "a symlink"},
		"symlink outside":  {func(p string) error { return os.Symlink("/etc/passwd", p) }, "a symlink"},
		"like one of ours": {func(p string) error { return os.Symlink(".distd/releases/x/content/"+filepath.Base(p), p) }, "a symlink"},
		"pipe":             {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "something"},
	} {
		for _, f := range []*fixture{tree(1, "x"), iso(1, "x")} {
			s := mustOpen(t, t.TempDir())
			complete(t, s, f)
			path := filepath.Join(s.Dir(), f.m.Name)
			check(t, c.make(path))
			before, err := os.Lstat(path)
			check(t, err)
			_, err = s.Activate(t.Context(), f.id, WithHook())
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v", name, err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s was replaced (%v)", name, err)
			}
			if _, ok := s.Live(f.m.Channel); ok || len(s.PendingHooks()) > 0 {
				t.Errorf("%s: something is live, or a hook due", name)
			}
			// Moved away, it works.
			check(t, os.Remove(path))
			_, err = s.Activate(t.Context(), f.id)
			check(t, err)
			wantLive(t, s, f)
		}
	}
}

func TestReplacedByOperator(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	publish(t, s, iso(1, "one"))
	path := filepath.Join(s.Dir(), "disc.iso")
	check(t, os.Remove(path))
	check(t, os.WriteFile(path, []byte("mine"), 0o600))
	f := iso(2, "two")
	complete(t, s, f)
	if _, err := s.Activate(t.Context(), f.id); !errors.Is(err, ErrForeign) {
		t.Errorf("error %v, want ErrForeign", err)
	}
	check(t, os.Remove(path))
	_, err := s.Activate(t.Context(), f.id)
	check(t, err)
	wantLive(t, s, f)
}

func TestLiveNameIsSetRight(t *testing.T) {
	for _, f := range []*fixture{tree(1, "x"), iso(1, "x")} {
		s := mustOpen(t, t.TempDir())
		publish(t, s, f, WithHook())
		check(t, s.HookDone(f.id, "ok"))
		check(t, os.Remove(filepath.Join(s.Dir(), f.m.Name)))
		act, err := s.Activate(t.Context(), f.id, WithHook())
		check(t, err)
		if !act.Already || len(s.PendingHooks()) > 0 {
			t.Errorf("activation %+v, pending %v: the release was live before", act, s.PendingHooks())
		}
		wantLive(t, s, f)
	}
}

func TestRestoredBackupIsKnown(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	publish(t, s, iso(1, "one"))
	path := filepath.Join(s.Dir(), "disc.iso")
	st, err := os.Stat(path)
	check(t, err)
	check(t, os.Remove(path)) // as by a copy that does not know hard links
	check(t, os.WriteFile(path, []byte("one"), 0o640))
	check(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	f := iso(2, "two")
	publish(t, s, f)
	wantLive(t, s, f)
}

func TestNameOfAnotherChannel(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	a := makeFixture("a", "it", 1, map[string]string{"it": "of a"})
	b := makeFixture("b", "it", 1, map[string]string{"it": "of b"})
	publish(t, s, a)
	complete(t, s, b)
	if _, err := s.Activate(t.Context(), b.id); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "channel a") {
		t.Errorf("error %v", err)
	}
	wantLive(t, s, a)
}

func TestSharedFileLeavesNothingBehind(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	one, two := iso(1, "same"), iso(2, "same")
	publish(t, s, one)
	r, err := s.Stage(two.m, two.id, two.meta)
	check(t, err)
	// As for a file that a release has in common with the one before.
	check(t, os.Link(filepath.Join(s.Dir(), "disc.iso"), filepath.Join(r.ContentRoot(), "disc.iso")))
	publish(t, s, two)
	wantLive(t, s, two)
	if l := list(t, filepath.Join(s.Dir(), tmpDir)); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
	if act, err := s.Activate(t.Context(), two.id); err != nil || !act.Already {
		t.Errorf("activation %+v, %v", act, err)
	}
}

func TestCopyWhereHardLinksAreNotPermitted(t *testing.T) {
	s, err := open(t.TempDir(), options{noHardLinks: true})
	check(t, err)
	defer func() { check(t, s.Close()) }()
	one, two := iso(1, "one"), iso(2, "two")
	publish(t, s, one)
	if act, err := s.Activate(t.Context(), one.id); err != nil || !act.Already {
		t.Errorf("the copy is not known again: %+v, %v", act, err)
	}
	publish(t, s, two)
	wantLive(t, s, two)
	a, err1 := os.Stat(filepath.Join(s.Dir(), "disc.iso"))
	r, err2 := s.Release(two.id)
	check(t, errors.Join(err1, err2))
	b, err := os.Stat(filepath.Join(r.ContentRoot(), "disc.iso"))
	check(t, err)
	if os.SameFile(a, b) || a.Mode() != b.Mode() || !a.ModTime().Equal(b.ModTime()) {
		t.Errorf("copy has %v %v, original %v %v", a.Mode(), a.ModTime(), b.Mode(), b.ModTime())
	}
	_, err = s.Rollback(t.Context(), "iso")
	check(t, err)
	wantLive(t, s, one)
}

func TestRollback(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	one, two, three := tree(1, "one"), tree(2, "two"), tree(3, "three")
	if _, err := s.Rollback(t.Context(), "web"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("error %v", err)
	}
	publish(t, s, one, WithHook())
	if _, err := s.Rollback(t.Context(), "web"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("error %v", err)
	}
	publish(t, s, two, WithHook())
	for _, id := range []string{one.id, two.id} {
		_, err := s.HookStart(id)
		check(t, errors.Join(err, s.HookDone(id, "ok")))
	}
	act, err := s.Rollback(t.Context(), "web")
	check(t, err)
	if act.ID != one.id || act.Previous != two.id || len(s.PendingHooks()) != 0 {
		t.Errorf("activation %+v, hooks %v", act, s.PendingHooks())
	}
	wantLive(t, s, one)
	if id, _ := s.Withdrawn("web"); id != two.id {
		t.Errorf("withdrawn is %q", id)
	}
	// Forward again: the hook has run for this release, unless it is asked for.
	_, err = s.Activate(t.Context(), two.id, WithHook())
	check(t, err)
	if _, ok := s.Withdrawn("web"); ok || len(s.PendingHooks()) != 0 {
		t.Errorf("withdrawn %v, hooks %v", ok, s.PendingHooks())
	}
	_, err = s.Rollback(t.Context(), "web", WithHookAgain())
	check(t, err)
	if p := s.PendingHooks(); len(p) != 1 || p[0].ID != one.id || p[0].Attempt != 0 || p[0].Previous != two.id {
		t.Errorf("pending hooks %+v", p)
	}
	publish(t, s, three)
	if _, ok := s.Withdrawn("web"); ok {
		t.Error("a newer release is live, and something is still withdrawn")
	}
	if id, _ := s.Previous("web"); id != one.id {
		t.Errorf("previous is %q", id)
	}
}

func TestChangedFile(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	a := makeFixture("web", "site", 1, map[string]string{"same": "s", "d/gone": "g", "d/grew": "1", "l -> same": "", "old/": ""})
	b := makeFixture("web", "site", 2, map[string]string{"same": "s", "d/grew": "22", "l -> d/grew": "", "new/x y": "n"})
	act := publish(t, s, a)
	read := func(act *Activation) string {
		text, err := os.ReadFile(act.ChangedFile)
		check(t, err)
		return string(text)
	}
	if got, want := read(act), "A\td/\nA\td/gone\nA\td/grew\nA\tl\nA\told/\nA\tsame\n"; got != want {
		t.Errorf("first release: %q, want %q", got, want)
	}
	act = publish(t, s, b)
	if got, want := read(act), "D\td/gone\nM\td/grew\nM\tl\nA\tnew/\nA\tnew/x y\nD\told/\n"; got != want {
		t.Errorf("second release: %q, want %q", got, want)
	}
	// After a restart the hook finds the same.
	act, err := s.Activate(t.Context(), b.id)
	check(t, err)
	if act.Previous != a.id || !strings.HasPrefix(read(act), "D\td/gone") {
		t.Errorf("activation %+v", act)
	}
	act, err = s.Rollback(t.Context(), "web")
	check(t, err)
	if !slices.Contains(strings.Split(read(act), "\n"), "A\td/gone") {
		t.Errorf("rollback: %q", read(act))
	}
	// Modes count, times do not; another kind is another release.
	m1, m2 := *a.m, *a.m
	m2.Files = slices.Clone(a.m.Files)
	m2.Files[0].Mode, m2.Files[1].MTime = 0o600, 5
	if got, want := string(changes(&m1, &m2)), "M\td/gone\n"; got != want {
		t.Errorf("mode change: %q, want %q", got, want)
	}
	if got, want := string(changes(iso(1, "x").m, iso(2, "y").m)), "M\tdisc.iso\n"; got != want {
		t.Errorf("file: %q, want %q", got, want)
	}
	if got, want := string(changes(a.m, iso(2, "y").m)), "A\tdisc.iso\n"; got != want {
		t.Errorf("another kind: %q, want %q", got, want)
	}
}
