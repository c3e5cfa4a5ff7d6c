package store

import (
	"path/filepath"
	"testing"
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
