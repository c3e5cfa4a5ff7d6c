package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withSpares opens a store in which the smallest tree gets a spare.
func withSpares(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := open(dir, options{spareFiles: 1})
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// takeAll takes what earlier releases have, and returns what is left to fetch. What
// is in its place is not written again: it may be theirs.
func takeAll(s *Store, f *fixture) (*fixture, error) {
	got, err := s.Reuse(context.Background(), f.id, ReuseLink, func(int) bool { return true })
	if err != nil {
		return nil, err
	}
	rest := *f
	rest.files = maps.Clone(f.files)
	lay, err := f.m.Layout()
	if err != nil {
		return nil, err
	}
	for _, i := range got.Files {
		delete(rest.files, strings.TrimPrefix(lay.Files[i].Path, f.m.Name+"/"))
	}
	r, err := s.Release(f.id)
	if err != nil {
		return nil, err
	}
	for p := range rest.files {
		// What was left there after an error has several names, perhaps.
		if err := os.Remove(filepath.Join(r.ContentRoot(), f.m.ContentPath(p))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return &rest, nil
}

// pushed brings a release that shares files with the one before.
func pushed(t *testing.T, s *Store, f *fixture) *Release {
	t.Helper()
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	rest, err := takeAll(s, f)
	check(t, err)
	check(t, rest.fetch(r))
	r, err = s.Commit(t.Context(), f.id)
	check(t, err)
	data, sig, p := f.pointer()
	check(t, s.SetPointer(f.m.Channel, data, sig, p))
	_, err = s.Activate(t.Context(), f.id)
	check(t, err)
	return r
}

func prepareSpare(t *testing.T, s *Store, want bool) {
	t.Helper()
	made, err := s.PrepareSpare(t.Context(), "web")
	check(t, err)
	if made != want {
		t.Fatalf("made a spare: %v", made)
	}
}

// TestSpareBecomesAnyRelease: whatever the next release changes, it is the same
// with a spare as without one, and the one before stays as it is.
func TestSpareBecomesAnyRelease(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	base := fastDir(t)
	for run := range 60 {
		s := withSpares(t, filepath.Join(base, fmt.Sprint(run)))
		files := map[string]string{}
		for i := range 40 {
			files[fmt.Sprintf("d%d/e%d/f%d", i%3, i%2, i)] = fmt.Sprint("text ", i%30)
		}
		files["d1/"], files["d2/e0/"], files["l -> d1"], files["empty"], files["void/"] = "", "", "", "", ""
		last := makeFixture("web", "site", 1, files)
		pushed(t, s, last)
		for serial := uint64(2); serial < 6; serial++ {
			prepareSpare(t, s, true)
			files = mutated(random, files)
			name := "site"
			if random.IntN(8) == 0 {
				name = "renamed"
			}
			next := makeFixture("web", name, serial, files)
			for i := range next.m.Files {
				if f := &next.m.Files[i]; random.IntN(20) == 0 && f.Symlink == "" {
					f.Mode, f.MTime = 0o600, f.MTime+1
				}
			}
			next.encode(t)
			pushed(t, s, next)
			if s.Spare(last.id) {
				t.Error("the spare was not taken")
			}
			wantSound(t, s, next.id)
			wantSound(t, s, last.id)
			wantLive(t, s, next)
			last = next
		}
		check(t, s.Close())
		if t.Failed() {
			t.Fatal("run", run)
		}
	}
}

// encode makes the fixture's documents anew from its manifest.
func (f *fixture) encode(t *testing.T) {
	t.Helper()
	data, err := f.m.Encode()
	check(t, err)
	f.meta.Manifest, f.id = data, idOf(data)
}

// mutated is a tree with some changes.
func mutated(random *rand.Rand, files map[string]string) map[string]string {
	out := maps.Clone(files)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		switch {
		case strings.HasSuffix(p, "/") || strings.Contains(p, " -> ") || random.IntN(12) > 0:
		case random.IntN(3) == 0:
			delete(out, p)
		case random.IntN(2) == 0:
			out[p] = fmt.Sprint("text ", random.IntN(30))
		default:
			delete(out, p)
			out[fmt.Sprintf("new%d/%s", random.IntN(3), path.Base(p))] = files[p]
		}
	}
	if random.IntN(2) == 0 { // a whole folder moves
		from, to := fmt.Sprintf("d%d/e%d/", random.IntN(3), random.IntN(2)), fmt.Sprintf("d%d/moved%d/", random.IntN(3), random.IntN(9))
		for p, text := range maps.Clone(out) {
			if rest, ok := strings.CutPrefix(p, from); ok && rest != "" {
				delete(out, p)
				out[to+rest] = text
			}
		}
		delete(out, from)
	}
	return withoutClashes(out)
}

// withoutClashes removes files that are called like folders.
func withoutClashes(files map[string]string) map[string]string {
	for p := range maps.Clone(files) {
		for d := path.Dir(strings.TrimSuffix(p, "/")); d != "."; d = path.Dir(d) {
			delete(files, d)
		}
	}
	return files
}

// TestSpareKeepsInodes: files that stay are those of the release before, folders
// that stay are not made again, and a folder that has moved is moved.
func TestSpareKeepsInodes(t *testing.T) {
	s := withSpares(t, t.TempDir())
	files := map[string]string{"./": "", "a/": "", "a/x": "1", "a/y": "2", "b/": "", "b/x": "3", "c/": "", "c/x": "4"}
	one := makeFixture("web", "site", 1, files)
	pushed(t, s, one)
	prepareSpare(t, s, true)
	prepareSpare(t, s, false)
	inode := func(p string) uint64 {
		t.Helper()
		var st unix.Stat_t
		check(t, unix.Lstat(filepath.Join(s.Dir(), p), &st))
		return st.Ino
	}
	was := map[string]uint64{}
	for _, p := range []string{"a", "b", "c"} {
		was[p] = inode(spareDir(one.id) + "/content/site/" + p)
	}
	file := inode("site/a/x")
	two := makeFixture("web", "site", 2, map[string]string{"./": "", "a/": "", "a/x": "1", "a/y": "2", "b/": "", "b/x": "other", "moved/": "", "moved/x": "4"})
	var mu sync.Mutex
	var synced []string
	s.fs.step = func(o op) error {
		mu.Lock()
		defer mu.Unlock()
		if o.kind == "sync folder" || strings.HasPrefix(o.kind, "set mode") {
			synced = append(synced, o.path)
		}
		return nil
	}
	s.step = s.fs.step
	pushed(t, s, two)
	for p, to := range map[string]string{"a": "a", "b": "b", "c": "moved"} {
		if got := inode("site/" + to); got != was[p] {
			t.Errorf("folder %s is inode %d, that of the spare was %d", to, got, was[p])
		}
	}
	if got := inode("site/a/x"); got != file {
		t.Errorf("a/x is inode %d, was %d", got, file)
	}
	if slices.ContainsFunc(synced, func(p string) bool { return strings.HasSuffix(p, "/site/a") }) {
		t.Errorf("the folder that did not change was looked at again: %v", synced)
	}
	wantSound(t, s, two.id)
	wantSound(t, s, one.id)
}

// TestSpareThatWasTouched: what somebody has done to the tree, or to the live
// release, does not come into the next one by way of the spare.
func TestSpareThatWasTouched(t *testing.T) {
	content := map[string]string{"./": "", "a/": "", "a/x": "1", "a/y": "2", "b/": "", "b/x": "3"}
	for name, touch := range map[string]func(s *Store, spare string) error{
		"more":    func(_ *Store, d string) error { return os.WriteFile(d+"/a/more", nil, 0o644) },
		"less":    func(_ *Store, d string) error { return os.Remove(d + "/a/x") },
		"other":   func(_ *Store, d string) error { return errors.Join(os.Remove(d+"/a/x"), os.Mkdir(d+"/a/x", 0o755)) },
		"mode":    func(_ *Store, d string) error { return os.Chmod(d+"/b", 0o777) },
		"nothing": func(_ *Store, d string) error { return os.RemoveAll(d) },
		"live": func(s *Store, _ string) error {
			return os.WriteFile(filepath.Join(s.Dir(), "site/a/x"), []byte("9"), 0o644)
		},
		"live mode": func(s *Store, _ string) error { return os.Chmod(filepath.Join(s.Dir(), "site/a/x"), 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			s := withSpares(t, t.TempDir())
			one := makeFixture("web", "site", 1, content)
			pushed(t, s, one)
			prepareSpare(t, s, true)
			check(t, touch(s, s.abs(spareDir(one.id)+"/content/site")))
			next := maps.Clone(content)
			next["b/new"] = "new"
			two := makeFixture("web", "site", 2, next)
			pushed(t, s, two)
			wantSound(t, s, two.id)
			wantLive(t, s, two)
		})
	}
}

// TestSpareTouchedBetween: a name that changes between the taking of the spare and
// the commit shows.
func TestSpareTouchedBetween(t *testing.T) {
	s := withSpares(t, t.TempDir())
	content := map[string]string{"./": "", "a/": "", "a/x": "1", "a/y": "2", "b/": "", "b/x": "3"}
	one := makeFixture("web", "site", 1, content)
	pushed(t, s, one)
	prepareSpare(t, s, true)
	next := maps.Clone(content)
	next["b/new"] = "new"
	two := makeFixture("web", "site", 2, next)
	r, err := s.Stage(two.m, two.id, two.meta)
	check(t, err)
	rest, err := takeAll(s, two)
	check(t, err)
	check(t, rest.fetch(r))
	check(t, os.WriteFile(filepath.Join(r.ContentRoot(), "site/a/more"), nil, 0o644))
	// As a piece from a peer does that a file has not.
	x := filepath.Join(r.ContentRoot(), "site/a/x")
	check(t, os.WriteFile(x+".own", []byte("1"), 0o600))
	check(t, os.Rename(x+".own", x))
	_, err = s.Commit(t.Context(), two.id)
	check(t, err)
	wantSound(t, s, two.id)
}

func TestSparesComeAndGo(t *testing.T) {
	dir := t.TempDir()
	s := withSpares(t, dir)
	one, two := tree(1, "one"), tree(2, "two")
	if made, err := s.PrepareSpare(t.Context(), "web"); made || err != nil {
		t.Errorf("without a release: %v, %v", made, err)
	}
	publish(t, s, iso(1, "a file"))
	if made, err := s.PrepareSpare(t.Context(), "iso"); made || err != nil {
		t.Errorf("of a file: %v, %v", made, err)
	}
	pushed(t, s, one)
	prepareSpare(t, s, true)
	check(t, s.Close())
	s = withSpares(t, dir) // it stays over a restart
	if !s.Spare(one.id) {
		t.Fatal("the spare did not survive a restart")
	}
	use := s.Usage()
	publish(t, s, two)
	prepareSpare(t, s, true) // one a channel
	if s.Spare(one.id) || !s.Spare(two.id) {
		t.Error("the spare is not that of the live release")
	}
	check(t, s.DropSpares())
	if again := s.Usage(); again.Freed[one.id] == 0 || use.Freed[one.id] == 0 {
		t.Errorf("freed by a release that has a spare %d, that has none %d", use.Freed[one.id], again.Freed[one.id])
	}
	prepareSpare(t, s, true)
	check(t, os.RemoveAll(filepath.Join(dir, releasesDir, two.id))) // by hand
	check(t, s.Close())
	s = withSpares(t, dir)
	if s.Spare(two.id) {
		t.Error("the spare of a release that is gone is still there")
	}
	// A tree with a file that is not what was verified, or cannot be linked.
	three := tree(3, "three")
	publish(t, s, three)
	check(t, os.WriteFile(filepath.Join(dir, "site/a"), []byte("diff"), 0o640))
	prepareSpare(t, s, false)
	if left := list(t, filepath.Join(dir, tmpDir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Too small for one.
	check(t, s.Close())
	s = mustOpen(t, dir)
	publish(t, s, tree(4, "four"))
	prepareSpare(t, s, false)
}

// TestSpareOfMendedRelease: a file that has turned bad on the disk, with its size
// and time, is replaced in releases; a spare would bring it back.
func TestSpareOfMendedRelease(t *testing.T) {
	s := withSpares(t, t.TempDir())
	one := tree(1, "one")
	pushed(t, s, one)
	prepareSpare(t, s, true)
	bad := filepath.Join(s.Dir(), "site/a")
	check(t, os.WriteFile(bad, []byte("SAME"), 0o640))
	check(t, os.Chtimes(bad, time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)))
	rep, err := s.Check(t.Context(), one.id, CheckOptions{})
	check(t, err)
	_, err = s.Mend(t.Context(), rep, nil)
	if s.Spare(one.id) {
		t.Errorf("the spare is still there (%v)", err)
	}
}

// TestEveryFaultWithSpares is TestEveryFault with releases that are made of each
// other.
func TestEveryFaultWithSpares(t *testing.T) {
	releases := []*fixture{tree(1, "one"), tree(2, "two"), tree(3, "three")}
	for _, kind := range []fault{refuse, kill, powerCut} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			eachStep(t, releases, kind, options{spareFiles: 1})
		})
	}
}
