package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTreeAndFileBecomeLive(t *testing.T) {
	for name, dir := range disks(t) {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, dir)
			t1, t2, f1, f2 := tree(1, "one"), tree(2, "two"), iso(1, "first"), iso(2, "second")
			for _, f := range []*fixture{t1, f1} {
				act := publish(t, s, f, WithHook())
				if act.Already || act.Previous != "" || act.LivePath != filepath.Join(dir, f.m.Name) {
					t.Errorf("activation %+v", act)
				}
				wantLive(t, s, f)
				wantSound(t, s, f.id)
			}
			for _, c := range [][2]*fixture{{t1, t2}, {f1, f2}} {
				if act := publish(t, s, c[1], WithHook()); act.Previous != c[0].id {
					t.Errorf("previous release is %q", act.Previous)
				}
				wantLive(t, s, c[1])
				wantSound(t, s, c[0].id)
			}
			check(t, s.Close())
			s = mustOpen(t, dir)
			wantLive(t, s, t2)
			wantLive(t, s, f2)
			if n := len(s.PendingHooks()); n != 4 {
				t.Errorf("%d hooks are due, want 4", n)
			}
			if rels := s.Releases(); len(rels) != 4 || rels[0].ID != f1.id || rels[3].ID != t2.id {
				t.Errorf("releases in another order than channel and serial")
			}
		})
	}
}

func TestLiveNames(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	tr, f := tree(1, "x"), iso(1, "bytes")
	publish(t, s, tr)
	publish(t, s, f)
	if target, err := os.Readlink(filepath.Join(dir, "site")); err != nil || target != ".distd/releases/"+tr.id+"/content/site" {
		t.Errorf("symlink leads to %q, %v", target, err)
	}
	a, err1 := os.Lstat(filepath.Join(dir, "disc.iso"))
	b, err2 := os.Lstat(filepath.Join(dir, ".distd/releases", f.id, "content/disc.iso"))
	if err1 != nil || err2 != nil || !os.SameFile(a, b) {
		t.Errorf("the live file is not the release's: %v %v", err1, err2)
	}
	for _, d := range []string{tmpDir, trashDir, stagingDir} {
		if l := list(t, filepath.Join(dir, d)); len(l) > 0 {
			t.Errorf("%s holds %v", d, l)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, stateFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", st, err)
	}
}

func TestCommitFollowsTheManifest(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := tree(1, "x")
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	check(t, f.fetch(r))
	root := filepath.Join(r.ContentRoot(), "site")
	// What is not in the manifest, or is there in another form.
	check(t, os.MkdirAll(filepath.Join(root, "extra/deep"), 0o500))
	check(t, os.WriteFile(filepath.Join(r.ContentRoot(), "beside"), nil, 0o600))
	check(t, os.Symlink("/etc/passwd", filepath.Join(root, "d/l")))
	check(t, os.Symlink("/etc", filepath.Join(root, "void")))
	r, err = s.Commit(t.Context(), f.id)
	check(t, err)
	wantSound(t, s, f.id)
	root = filepath.Join(r.ContentRoot(), "site")
	for p, want := range map[string]int64{"a": 1_600_000_000, "empty": 1_600_000_000, "d/l": 1_600_000_000, "void": 1_500_000_000, "closed": 1_500_000_000, ".": 1_500_000_000, "d": f.m.Created.Unix()} {
		if st, err := os.Lstat(filepath.Join(root, p)); err != nil || st.ModTime() != time.Unix(want, 0) {
			t.Errorf("%s has time %v, want %v (%v)", p, st.ModTime().Unix(), want, err)
		}
	}
	if _, err := r.ReadMeta(progressFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("progress file is still there: %v", err)
	}
	if again, err := s.Commit(t.Context(), f.id); err != nil || again != r {
		t.Errorf("second commit gave %v, %v", again, err)
	}
}

func TestCommitOfIncompleteContent(t *testing.T) {
	f := tree(1, "x")
	for name, spoil := range map[string]func(root string) error{
		"missing": func(root string) error { return os.Remove(filepath.Join(root, "a")) },
		"short":   func(root string) error { return os.Truncate(filepath.Join(root, "d/b"), 2) },
		"long":    func(root string) error { return os.Truncate(filepath.Join(root, "d/b"), 9999) },
		"a folder": func(root string) error {
			return errors.Join(os.Remove(filepath.Join(root, "a")), os.Mkdir(filepath.Join(root, "a"), 0o755))
		},
		"a symlink": func(root string) error {
			return errors.Join(os.Remove(filepath.Join(root, "a")), os.Symlink("d/b", filepath.Join(root, "a")))
		},
	} {
		s := mustOpen(t, t.TempDir())
		r, err := s.Stage(f.m, f.id, f.meta)
		check(t, err)
		check(t, f.fetch(r))
		check(t, spoil(filepath.Join(r.ContentRoot(), "site")))
		if _, err := s.Commit(t.Context(), f.id); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: error %v, want ErrIncomplete", name, err)
		}
		if _, err := s.Activate(t.Context(), f.id); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: activated: %v", name, err)
		}
		if r, err := s.Release(f.id); err != nil || r.Complete {
			t.Errorf("%s: release is %+v, %v, want it staged", name, r, err)
		}
	}
}

func TestCommitCanBeStopped(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := tree(1, "x")
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	check(t, f.fetch(r))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, f.id); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := r.ReadMeta(progressFile); err != nil {
		t.Errorf("progress is lost: %v", err)
	}
	complete(t, s, f)
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := s.Activate(ctx, f.id); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, ok := s.Live("web"); ok {
		t.Error("activated")
	}
}

func TestCommitDoesNotTouchSharedFiles(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := iso(1, "shared")
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	other := filepath.Join(s.Dir(), "other")
	check(t, os.WriteFile(other, []byte("shared"), 0o600))
	old := time.Unix(1_000_000_000, 0)
	check(t, os.Chtimes(other, old, old))
	check(t, os.Link(other, filepath.Join(r.ContentRoot(), "disc.iso")))
	_, err = s.Commit(t.Context(), f.id)
	check(t, err)
	wantSound(t, s, f.id)
	if st, err := os.Stat(other); err != nil || st.Mode().Perm() != 0o600 || !st.ModTime().Equal(old) {
		t.Errorf("the other name of the file has mode %v and time %v (%v)", st.Mode(), st.ModTime(), err)
	}
}

func TestWholeFileSystemIsSyncedForManyFiles(t *testing.T) {
	synced, renamed := 0, 0
	n := 0
	s, err := open(t.TempDir(), options{syncFSAt: 1, workers: 1, step: func(o op) error {
		n++
		switch {
		case o.kind == "sync file system of":
			synced = n
		case o.kind == "rename" && strings.HasPrefix(o.to, releasesDir):
			renamed = n
		}
		return nil
	}})
	check(t, err)
	defer func() { check(t, s.Close()) }()
	f := tree(1, "x")
	complete(t, s, f)
	wantSound(t, s, f.id)
	if synced == 0 || synced > renamed {
		t.Errorf("synced at step %d, renamed at %d", synced, renamed)
	}
}

func TestStageIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	f := tree(1, "x")
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	check(t, f.fetch(r))
	for range 2 {
		again, err := s.Stage(f.m, f.id, f.meta)
		check(t, err)
		if b, err := again.ReadMeta(progressFile); err != nil || string(b) != "all" {
			t.Errorf("progress %q, %v", b, err)
		}
		// The second time round: after a restart, with a file lost.
		check(t, os.Remove(filepath.Join(again.Dir, "site.metalink")))
		check(t, s.Close())
		s = mustOpen(t, dir)
	}
	r, err = s.Stage(f.m, f.id, f.meta)
	check(t, err)
	if b, err := r.ReadMeta("site.metalink"); err != nil || string(b) != "v3" {
		t.Errorf("metalink %q, %v", b, err)
	}
	_, err = s.Commit(t.Context(), f.id)
	check(t, err)
	if r, err := s.Stage(f.m, f.id, f.meta); err != nil || !r.Complete {
		t.Errorf("staging a complete release gave %+v, %v", r, err)
	}
}

func TestStageRefuses(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := iso(1, "x")
	if _, err := s.Stage(f.m, strings.Repeat("0", 64), f.meta); err == nil {
		t.Error("an ID that is not the manifest's was accepted")
	}
	long := strings.Repeat("n", 250)
	l := makeFixture("c", long, 1, map[string]string{long: "x"})
	if _, err := s.Stage(l.m, l.id, l.meta); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("name without room for .metalink: %v", err)
	}
	if _, err := s.Commit(t.Context(), f.id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commit of an unknown release: %v", err)
	}
	if _, err := s.Activate(t.Context(), f.id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("activation of an unknown release: %v", err)
	}
}

func TestReadMetaStaysInside(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	r := complete(t, s, iso(1, "x"))
	for _, n := range []string{"../../state.db", "content/disc.iso", "", "..", "/etc/passwd"} {
		if _, err := r.ReadMeta(n); err == nil {
			t.Errorf("%q was read", n)
		}
	}
}

func TestDamagedRelease(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	f, g := iso(1, "x"), tree(1, "x")
	publish(t, s, f)
	_, err := s.Stage(g.m, g.id, g.meta)
	check(t, err)
	check(t, s.Close())
	for _, p := range []string{releasesDir + "/" + f.id, stagingDir + "/" + g.id} {
		check(t, os.WriteFile(filepath.Join(dir, p, manifestFile), []byte("{}"), 0o644))
	}
	check(t, os.MkdirAll(filepath.Join(dir, stagingDir, "leftover/content"), 0o755))
	s = mustOpen(t, dir)
	if rels := s.Releases(); len(rels) != 0 {
		t.Errorf("damaged releases are in use: %v", rels)
	}
	if l := list(t, filepath.Join(dir, stagingDir)); len(l) != 0 {
		t.Errorf("staging holds %v", l)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "disc.iso")); err != nil || string(b) != "x" {
		t.Errorf("the live file suffered: %q, %v", b, err)
	}
	if _, err := s.Prune(t.Context(), 1, nil); err != nil {
		t.Error(err)
	}
	if r, err := s.Stage(f.m, f.id, f.meta); err != nil || !r.Complete {
		t.Errorf("the damaged live release is not repaired: %+v, %v", r, err)
	}
	wantSound(t, s, f.id)
}
