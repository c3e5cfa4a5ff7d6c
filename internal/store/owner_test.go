package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// needRoot skips a test that gives files away, or fails it in CI.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("wants root")
	}
	t.Skip("wants root")
}

// wantOwner fails the test unless all of a release's content is the owner's, and
// nothing else of the store.
func wantOwner(t *testing.T, s *Store, r *Release, uid, gid uint32) {
	t.Helper()
	n := 0
	check(t, filepath.WalkDir(s.Dir(), func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		content := strings.HasPrefix(p, r.ContentRoot()+"/") || p == filepath.Join(s.Dir(), r.Manifest.Name)
		if content {
			n++
		}
		if content && (sys.Uid != uid || sys.Gid != gid) {
			t.Errorf("%s belongs to %d:%d, want %d:%d", p, sys.Uid, sys.Gid, uid, gid)
		}
		if !strings.Contains(p, "/content/") && !content && sys.Uid != uint32(os.Getuid()) {
			t.Errorf("%s, which is no content, belongs to %d", p, sys.Uid)
		}
		return nil
	}))
	if n < len(r.Manifest.Files)+1 {
		t.Errorf("only %d files were found", n)
	}
}

func owned(t *testing.T, o Owner) *Store {
	t.Helper()
	needRoot(t)
	s := mustOpen(t, t.TempDir())
	check(t, s.SetOwner(o))
	return s
}

func TestOwner(t *testing.T) {
	for _, c := range []struct {
		owner    Owner
		uid, gid uint32
	}{{Owner{1234, 5678}, 1234, 5678}, {Owner{1234, -1}, 1234, uint32(os.Getgid())}, {Owner{-1, 5678}, uint32(os.Getuid()), 5678}, {NoOwner, uint32(os.Getuid()), uint32(os.Getgid())}} {
		t.Run(c.owner.String(), func(t *testing.T) {
			s := owned(t, c.owner)
			f := tree(1, "x")
			publish(t, s, f)
			r, err := s.Release(f.id)
			check(t, err)
			wantOwner(t, s, r, c.uid, c.gid)
			wantSound(t, s, f.id)
			f = iso(2, "a file")
			publish(t, s, f)
			if r, err = s.Release(f.id); err == nil {
				st, err := os.Lstat(filepath.Join(s.Dir(), "disc.iso"))
				check(t, err)
				if sys := st.Sys().(*syscall.Stat_t); sys.Uid != c.uid || sys.Gid != c.gid {
					t.Errorf("the live file belongs to %d:%d", sys.Uid, sys.Gid)
				}
			}
			check(t, err)
			wantSound(t, s, r.ID)
			if left := list(t, s.abs(tmpDir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestOwnerOfALiveCopy: where files cannot be linked the live name is one of its own.
func TestOwnerOfALiveCopy(t *testing.T) {
	needRoot(t)
	s, err := open(t.TempDir(), options{noHardLinks: true})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	check(t, s.SetOwner(Owner{1234, 5678}))
	f := iso(1, "a file")
	publish(t, s, f)
	wantSound(t, s, f.id)
	live := filepath.Join(s.Dir(), "disc.iso")
	st, err := os.Lstat(live)
	check(t, err)
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 1234 || sys.Gid != 5678 {
		t.Errorf("the live file belongs to %d:%d", sys.Uid, sys.Gid)
	}
	check(t, os.Lchown(live, 1, 1))
	rep := mustCheck(t, s, f.id)
	if len(rep.Problems) != 1 || rep.Problems[0].Kind != ProblemOwner {
		t.Errorf("problems %v", rep.Problems)
	}
	_, err = s.Mend(t.Context(), rep, nil)
	check(t, err)
	wantSound(t, s, f.id)
}

// TestOwnerAndReuse: a file that is another's is not linked, as its owner would
// change for releases that are live; one that is the owner's is.
func TestOwnerAndReuse(t *testing.T) {
	s := owned(t, NoOwner)
	first := linked(1)
	publish(t, s, first)
	before, err := s.Release(first.id)
	check(t, err)
	wantOwner(t, s, before, 0, 0)
	reuse := func(serial uint64) (*Release, *Reused) {
		f := linked(serial)
		stage(t, s, f)
		got, err := s.Reuse(t.Context(), f.id, ReuseLink, all)
		check(t, err)
		r, err := s.Commit(t.Context(), f.id)
		check(t, err)
		wantLinks(t, s, r)
		return r, got
	}
	check(t, s.SetOwner(Owner{1234, 5678}))
	second, got := reuse(2)
	if got.Linked != 0 || got.Copied != 3 {
		t.Errorf("%d files were linked, %d copied", got.Linked, got.Copied)
	}
	for p, uid := range map[*Release]uint32{before: 0, second: 1234} {
		if _, sys := stat(t, p, "a"); sys.Uid != uid {
			t.Errorf("serial %d: a belongs to %d", p.Manifest.Serial, sys.Uid)
		}
	}
	third, got := reuse(3)
	if got.Linked != 3 || !sameFileOf(t, second, third, "a") {
		t.Errorf("%d files were linked", got.Linked)
	}
	// What is linked already, as the setting changes between two steps, is parted.
	f := linked(4)
	stage(t, s, f)
	_, err = s.Reuse(t.Context(), f.id, ReuseLink, all)
	check(t, err)
	check(t, s.SetOwner(Owner{99, -1}))
	fourth, err := s.Commit(t.Context(), f.id)
	check(t, err)
	wantLinks(t, s, fourth)
	if _, sys := stat(t, third, "a"); sys.Uid != 1234 || sameFileOf(t, third, fourth, "a") {
		t.Errorf("a commit has changed another release: a belongs to %d", sys.Uid)
	}
}

func TestOwnerIsMended(t *testing.T) {
	s := owned(t, Owner{1234, 5678})
	f := tree(1, "x")
	publish(t, s, f)
	r, err := s.Release(f.id)
	check(t, err)
	root := r.ContentRoot()
	for _, p := range []string{"site", "site/a", "site/d/e", "site/d/l", "site/empty"} {
		check(t, os.Lchown(filepath.Join(root, p), 1, -1))
	}
	check(t, os.Lchown(filepath.Join(s.Dir(), "site"), 0, 0))
	check(t, flip(filepath.Join(root, "site/d/e/c"), 7))
	check(t, relink(filepath.Join(root, "site/closed/x"), "nowhere"))
	// Who opens the store next knows the owner.
	check(t, s.Close())
	s = mustOpen(t, s.Dir())
	rep := mustCheck(t, s, f.id)
	n := 0
	for _, p := range rep.Problems {
		if p.Kind == ProblemOwner {
			n++
		}
	}
	if n != 7 || len(rep.Problems) != 9 {
		t.Errorf("problems %v", rep.Problems)
	}
	m, err := s.Mend(t.Context(), rep, pieceOf(f))
	check(t, err)
	if len(m.Left.Problems) > 0 {
		t.Errorf("left %v", m.Left.Problems)
	}
	wantSound(t, s, f.id)
	wantOwner(t, s, r, 1234, 5678)
	check(t, s.SetOwner(NoOwner))
	wantSound(t, s, f.id)
	check(t, s.Close())
	s = mustOpen(t, s.Dir())
	if s.fs.owner != NoOwner {
		t.Errorf("the owner is %v still", s.fs.owner)
	}
}
