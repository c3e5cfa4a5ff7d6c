package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pieceOf gives the right bytes of a fixture's pieces.
func pieceOf(f *fixture) func(int, []byte) error {
	var all strings.Builder
	for _, i := range f.m.Regular() {
		all.WriteString(f.files[f.m.Files[i].Path])
	}
	return func(i int, buf []byte) error {
		copy(buf, all.String()[int64(i)*f.m.PieceLength:])
		return nil
	}
}

func mustCheck(t *testing.T, s *Store, id string) *Report {
	t.Helper()
	rep, err := s.Check(t.Context(), id, CheckOptions{})
	check(t, err)
	return rep
}

// TestMendPutsEveryDifferenceRight: with pieces from elsewhere.
func TestMendPutsEveryDifferenceRight(t *testing.T) {
	for name, c := range differences {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			f := tree(1, "x")
			r := complete(t, s, f)
			_, err := s.Activate(t.Context(), f.id)
			check(t, err)
			check(t, c.spoil(filepath.Join(r.ContentRoot(), "site")))
			rep := mustCheck(t, s, f.id)
			m, err := s.Mend(t.Context(), rep, pieceOf(f))
			check(t, err)
			if len(m.Left.Problems)+len(m.Left.Bad) > 0 || len(m.Fixed) != len(rep.Problems) {
				t.Errorf("of %v was fixed %v, left %v", rep.Problems, m.Fixed, m.Left)
			}
			wantSound(t, s, f.id)
			wantLive(t, s, f)
			if left := list(t, filepath.Join(s.Dir(), tmpDir)); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

// TestMendWithoutPieces does what it can, and says which pieces are wanted.
func TestMendWithoutPieces(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := tree(1, "x")
	root := filepath.Join(complete(t, s, f).ContentRoot(), "site")
	check(t, errors.Join(flip(filepath.Join(root, "d/e/c"), 800), os.Chmod(filepath.Join(root, "a"), 0o600), os.Remove(filepath.Join(root, "empty"))))
	rep := mustCheck(t, s, f.id)
	m, err := s.Mend(t.Context(), rep, nil)
	check(t, err)
	if len(m.Left.Problems) != 1 || m.Left.Problems[0].Path != "site/d/e/c" || len(m.Left.Bad) == 0 || len(m.Fixed) != 2 {
		t.Errorf("fixed %v, left %v", m.Fixed, m.Left)
	}
	if got := mustCheck(t, s, f.id); !slices.Equal(got.Problems, m.Left.Problems) || !slices.Equal(got.Bad, m.Left.Bad) {
		t.Errorf("afterwards: %v, want %v", got, m.Left)
	}
}

// TestMendFromAnotherRelease: a good file of the same content is enough.
func TestMendFromAnotherRelease(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f, g := tree(1, "x"), tree(2, "y")
	a, b := complete(t, s, f), complete(t, s, g)
	broken := filepath.Join(a.ContentRoot(), "site/a")
	check(t, flip(broken, 2))
	m, err := s.Mend(t.Context(), mustCheck(t, s, f.id), nil)
	check(t, err)
	if len(m.Left.Problems) > 0 {
		t.Errorf("left: %v", m.Left)
	}
	wantSound(t, s, f.id)
	x, _ := os.Stat(broken)
	y, _ := os.Stat(filepath.Join(b.ContentRoot(), "site/a"))
	if os.SameFile(x, y) {
		t.Error("the releases share a file that they did not share before")
	}
}

// TestMendSharedFile: one inode that is damaged in three releases, one of which is live.
func TestMendSharedFile(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	var paths []string
	var fixtures []*fixture
	text := strings.Repeat("shared ", 400)
	for i := range 3 {
		f := makeFixture("web", "x.bin", uint64(i+1), map[string]string{"x.bin": text})
		if i == 2 {
			f = makeFixture("other", "tree", 1, map[string]string{"in/x": text, "own": "else"})
		}
		r, err := s.Stage(f.m, f.id, f.meta)
		check(t, err)
		check(t, f.fetch(r))
		name := filepath.Join(r.ContentRoot(), f.m.ContentPath(f.m.Files[0].Path))
		if i > 0 {
			check(t, errors.Join(os.Remove(name), os.Link(paths[0], name)))
		}
		r, err = s.Commit(t.Context(), f.id)
		check(t, err)
		paths, fixtures = append(paths, filepath.Join(r.ContentRoot(), f.m.ContentPath(f.m.Files[0].Path))), append(fixtures, f)
	}
	_, err := s.Activate(t.Context(), fixtures[1].id)
	check(t, err)
	live := filepath.Join(s.Dir(), "x.bin")
	open, err := os.Open(live) // who reads goes on reading what it was
	check(t, err)
	defer func() { _ = open.Close() }()
	check(t, os.Truncate(paths[0], 10))
	m, err := s.Mend(t.Context(), mustCheck(t, s, fixtures[0].id), pieceOf(fixtures[0]))
	check(t, err)
	if len(m.Files) != 3 {
		t.Errorf("replaced in %v, want all three", m.Files)
	}
	for _, f := range fixtures {
		wantSound(t, s, f.id)
	}
	first, _ := os.Stat(paths[0])
	for _, p := range append(paths[1:], live) {
		if st, err := os.Stat(p); err != nil || !os.SameFile(st, first) {
			t.Errorf("%s is not the same file: %v", p, err)
		}
	}
	if st, _ := open.Stat(); os.SameFile(st, first) || st.Size() != 10 {
		t.Error("the damaged file was written to, not replaced")
	}
	// A later activation knows the name as its own.
	if act, err := s.Activate(t.Context(), fixtures[1].id); err != nil || !act.Already {
		t.Errorf("activation: %+v, %v", act, err)
	}
}

// TestMendLiveName sets a name right that leads elsewhere.
func TestMendLiveName(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	old, f := tree(1, "x"), tree(2, "y")
	publish(t, s, old)
	publish(t, s, f)
	live := filepath.Join(s.Dir(), "site")
	check(t, relink(live, ".distd/releases/"+old.id+"/content/site"))
	rep := mustCheck(t, s, f.id)
	if len(rep.Problems) != 1 || rep.Problems[0].Kind != ProblemLive || rep.Problems[0].Path != live {
		t.Fatalf("problems %v", rep.Problems)
	}
	m, err := s.Mend(t.Context(), rep, nil)
	check(t, err)
	if len(m.Left.Problems) > 0 {
		t.Errorf("left: %v", m.Left)
	}
	wantLive(t, s, f)
	check(t, os.Remove(live))
	if rep = mustCheck(t, s, f.id); len(rep.Problems) != 1 || rep.Problems[0].Detail != "is not there" {
		t.Errorf("without the name: %v", rep.Problems)
	}
	check(t, relink(live, "/etc")) // somebody's own
	m, err = s.Mend(t.Context(), mustCheck(t, s, f.id), nil)
	if err != nil || len(m.Left.Problems) != 1 || len(m.Fixed) > 0 || !strings.Contains(m.Left.Problems[0].Detail, "that distd did not make; move it away") {
		t.Errorf("a foreign name: %+v, %v", m, err)
	}
}

// TestMendCopiedLiveFile: where there are no hard links the live file is
// checked and made anew by itself.
func TestMendCopiedLiveFile(t *testing.T) {
	s, err := open(t.TempDir(), options{noHardLinks: true})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	f := makeFixture("web", "x.bin", 1, map[string]string{"x.bin": "some text"})
	publish(t, s, f)
	live := filepath.Join(s.Dir(), "x.bin")
	st, err := os.Stat(live)
	check(t, err)
	check(t, errors.Join(flip(live, 3), os.Chtimes(live, st.ModTime(), st.ModTime())))
	rep := mustCheck(t, s, f.id)
	if len(rep.Problems) != 1 || rep.Problems[0].Kind != ProblemLive {
		t.Fatalf("problems %v", rep.Problems)
	}
	_, err = s.Mend(t.Context(), rep, nil)
	check(t, err)
	wantLive(t, s, f)
	wantSound(t, s, f.id)
}

// TestMendInterrupted refuses every change of the disk in turn, as a crash
// would, from one on: no file is ever half, and the next Mend makes all well.
func TestMendInterrupted(t *testing.T) {
	text := strings.Repeat("shared ", 400)
	for n := 0; ; n++ {
		dir := t.TempDir()
		s, err := open(dir, options{})
		check(t, err)
		f := makeFixture("web", "x.bin", 1, map[string]string{"x.bin": text})
		publish(t, s, f)
		path := filepath.Join(dir, "x.bin")
		check(t, flip(path, 1500))
		rep := mustCheck(t, s, f.id)
		left, hit := n, false
		fail := func(op) error {
			if left--; left < 0 {
				hit = true
				return errors.New("crash")
			}
			return nil
		}
		s.step, s.fs.step = fail, fail
		_, err = s.Mend(t.Context(), rep, pieceOf(f))
		s.step, s.fs.step = nil, nil
		check(t, s.Close())
		for _, p := range []string{path, filepath.Join(dir, releasesDir, f.id, contentDir, "x.bin")} {
			if st, serr := os.Stat(p); serr != nil || st.Size() != int64(len(text)) {
				t.Fatalf("after step %d: %s: %v, %v", n, p, st, serr)
			}
		}
		s, oerr := open(dir, options{})
		check(t, oerr)
		m, merr := s.Mend(t.Context(), mustCheck(t, s, f.id), pieceOf(f))
		if merr != nil || len(m.Left.Problems) > 0 {
			t.Fatalf("after step %d: %v, %v", n, m, merr)
		}
		wantSound(t, s, f.id)
		wantLive(t, s, f)
		check(t, s.Close())
		if !hit {
			if err != nil {
				t.Fatal(err)
			}
			if n < 5 {
				t.Errorf("only %d steps", n)
			}
			return
		}
	}
}

// TestPatchesStay: fetched pieces are there after a restart, unless they are bad.
func TestPatchesStay(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	f := iso(1, strings.Repeat("text ", 800))
	complete(t, s, f)
	piece := pieceOf(f)
	p, err := s.OpenPatches(f.id, []int{0, 1, 2})
	check(t, err)
	for i := range 3 {
		b := make([]byte, p.lay.PieceSize(i))
		check(t, piece(i, b))
		if i == 2 {
			b[0]++
		}
		check(t, p.WritePiece(i, b))
	}
	check(t, p.Sync(t.Context()))
	if err := p.WritePiece(7, make([]byte, 1<<10)); err == nil {
		t.Error("a piece that there is not was taken")
	}
	check(t, s.Close())
	s = mustOpen(t, dir)
	p, err = s.OpenPatches(f.id, []int{1, 2})
	check(t, err)
	if p.Has(0) || !p.Has(1) || p.Has(2) || fmt.Sprint(p.Missing()) != "[2]" {
		t.Errorf("have %v, missing %v", p.have, p.Missing())
	}
	check(t, p.Remove())
	if left := list(t, filepath.Join(dir, repairDir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCheckGoesOn: at its own pace, from the piece where another one ended.
func TestCheckGoesOn(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := makeFixture("web", "site", 1, map[string]string{"a": strings.Repeat("a", 2000), "b": strings.Repeat("b", 3000)})
	root := filepath.Join(complete(t, s, f).ContentRoot(), "site")
	check(t, errors.Join(flip(filepath.Join(root, "a"), 0), os.Remove(filepath.Join(root, "b"))))
	want := mustCheck(t, s, f.id)
	read, next, bad := 0, 0, []int(nil)
	o := CheckOptions{
		Pace: func(_ context.Context, n int) error { read += n; return nil },
		Step: func(n int, b []int) { next, bad = n, b },
	}
	got, err := s.Check(t.Context(), f.id, o)
	check(t, err)
	if !slices.Equal(got.Problems, want.Problems) || !slices.Equal(got.Bad, want.Bad) || read == 0 || next != len(f.m.Pieces)/32 {
		t.Errorf("at a pace: %v after %d bytes, want %v", got, read, want)
	}
	all := read
	read, o.From, o.Bad = 0, next-2, bad
	got, err = s.Check(t.Context(), f.id, o)
	check(t, err)
	if !slices.Equal(got.Problems, want.Problems) || !slices.Equal(got.Bad, want.Bad) || read >= all {
		t.Errorf("resumed: %v after %d bytes, want %v", got, read, want)
	}
}
