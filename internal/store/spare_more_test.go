package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoSpareOfHardLinks: a tree whose names are linked has no spare, and is made
// of none.
func TestNoSpareOfHardLinks(t *testing.T) {
	s := withSpares(t, t.TempDir())
	pushed(t, s, tree(1, "x"))
	prepareSpare(t, s, true)
	r := pushed(t, s, linked(2))
	wantLinks(t, s, r)
	prepareSpare(t, s, false)
	pushed(t, s, tree(3, "y"))
	wantSound(t, s, tree(3, "y").id)
}

// TestSpareOfAnotherOwner: a spare that was made for one owner does not become a
// release of another one, and a spare has the owner of its release.
func TestSpareOfAnotherOwner(t *testing.T) {
	needRoot(t)
	s := withSpares(t, filepath.Join(t.TempDir(), "s"))
	pushed(t, s, tree(1, "x"))
	prepareSpare(t, s, true)
	check(t, s.SetOwner(Owner{1234, 5678}))
	wantOwner(t, s, pushed(t, s, tree(2, "y")), 1234, 5678)
	prepareSpare(t, s, true)
	wantOwner(t, s, pushed(t, s, tree(3, "z")), 1234, 5678)
	if s.Spare(tree(2, "y").id) {
		t.Error("the spare was not used")
	}
	wantSound(t, s, tree(3, "z").id)
}

// TestNoSpareOfDamage: a spare that is made while its release is repaired has the
// damaged file still, and does not stay.
func TestNoSpareOfDamage(t *testing.T) {
	s := withSpares(t, t.TempDir())
	f := tree(1, "x")
	r := pushed(t, s, f)
	rotten := filepath.Join(r.ContentRoot(), "site/d/e/c")
	then := time.Unix(1_600_000_000, 0) // the disk changes no times
	check(t, errors.Join(flip(rotten, 800), os.Chtimes(rotten, then, then)))
	rep := mustCheck(t, s, f.id)
	whole := pieceOf(f)
	made := false
	m, err := s.Mend(t.Context(), rep, func(i int, buf []byte) error {
		if !made {
			prepareSpare(t, s, true)
			made = true
		}
		return whole(i, buf)
	})
	check(t, err)
	if !made || len(m.Left.Problems) > 0 {
		t.Errorf("made in the middle: %v; left: %v", made, m.Left)
	}
	next := tree(2, "x")
	pushed(t, s, next)
	wantSound(t, s, next.id)
}

// TestSpareThatStays: one that cannot be deleted keeps nobody from working.
func TestSpareThatStays(t *testing.T) {
	dir := t.TempDir()
	s := withSpares(t, dir)
	pushed(t, s, tree(1, "x"))
	prepareSpare(t, s, true)
	check(t, os.Rename(s.abs(spareDir(tree(1, "x").id)), s.abs(spareDir(tree(7, "x").id)))) // of one that is gone
	check(t, s.Close())
	s, err := open(dir, options{spareFiles: 1, step: func(o op) error {
		if o.kind == "delete" {
			return unix.EPERM
		}
		return nil
	}})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	if s.Spare(tree(7, "x").id) {
		t.Error("it has its name still")
	}
	pushed(t, s, tree(2, "y"))
}
