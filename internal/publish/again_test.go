package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distd/internal/store"
)

// follower publishes a tree that changes at random, again and again, and brings each
// release to a node.
type follower struct {
	*bench
	random *rand.Rand
	top    string // the source
	dir    string // the node's
	node   *store.Store
	linked bool // hard links are made

	begun  string         // a release that the node has not finished
	placed map[string]int // its files that are there: by path
}

// TestPublishedAgainAndAgain: whatever becomes of a tree, the node's is the same
// byte for byte, with modes, times and names of one file, and no release of before
// is touched.
func TestPublishedAgainAndAgain(t *testing.T) {
	runs := 2
	if testing.Short() {
		runs = 1
	}
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) { newFollower(t, uint64(run)).run(6) })
	}
}

func newFollower(t *testing.T, seed uint64) *follower {
	b := newBench(t)
	a := &follower{bench: b, random: rand.New(rand.NewPCG(seed, 77)), top: filepath.Join(b.src, "site"), dir: filepath.Join(t.TempDir(), "node")}
	for i := range 330 { // as many as a spare tree wants
		a.write(fmt.Sprintf("site/d%d/e%d/f%03d", i%5, i%3, i), static(byte(i%50), 10+i*7%900))
	}
	a.open()
	return a
}

func (a *follower) open() {
	a.Helper()
	if a.node != nil {
		a.must(a.node.Close())
	}
	st, err := store.Open(a.dir, nil)
	a.must(err)
	a.node = st
	a.Cleanup(func() { _ = st.Close() })
}

func (a *follower) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *follower) run(times int) {
	o := Options{Path: a.top, PieceLength: 16 << 10}
	for range times {
		if a.random.IntN(4) == 0 {
			a.linked = !a.linked
		}
		for range a.random.IntN(12) {
			a.change()
		}
		o.DeltaBases = a.random.IntN(2)
		res := a.publish(o)
		if res.Unchanged {
			continue
		}
		a.sound(a.st)
		a.follow(res)
		if a.Failed() {
			return
		}
	}
}

// some is a random file or folder of the source, "" where there is none.
func (a *follower) some(want func(fs.FileInfo) bool) string {
	var all []string
	a.must(filepath.WalkDir(a.top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == a.top {
			return err
		}
		if st, err := d.Info(); err == nil && want(st) {
			all = append(all, p)
		}
		return nil
	}))
	if len(all) == 0 {
		return ""
	}
	return all[a.random.IntN(len(all))]
}

func (a *follower) file() string {
	return a.some(func(st fs.FileInfo) bool { return st.Mode().IsRegular() })
}
func (a *follower) folder() string {
	return a.some(func(st fs.FileInfo) bool { return st.IsDir() })
}

// fresh is a path at which nothing is.
func (a *follower) fresh() string {
	return filepath.Join(a.folder(), fmt.Sprintf("n%d", a.random.Uint32()))
}

func (a *follower) change() {
	f := a.file()
	st, err := os.Lstat(f)
	a.must(err)
	switch a.random.IntN(14) {
	case 0: // other bytes
		a.must(os.WriteFile(f, static(byte(a.random.Uint32()), int(st.Size())), 0o644))
	case 1: // another size
		a.must(os.WriteFile(f, static(byte(a.random.Uint32()), a.random.IntN(40_000)), 0o644))
	case 2:
		a.must(os.Remove(f))
	case 3:
		a.must(os.Rename(f, a.fresh()))
	case 4:
		a.rename(a.folder(), a.fresh())
	case 5, 6: // another name of a file, or of another content
		if a.linked {
			a.must(os.Link(f, a.fresh()))
		}
	case 7: // the same content, mode and time, perhaps where another name was
		to := a.fresh()
		if a.random.IntN(2) == 0 {
			to = f
		}
		data, err := os.ReadFile(f)
		a.must(err)
		if to == f {
			a.must(os.Remove(f))
		}
		a.must(os.WriteFile(to, data, 0o600))
		a.must(os.Chmod(to, st.Mode().Perm()))
		a.must(os.Chtimes(to, st.ModTime(), st.ModTime()))
	case 8:
		a.must(os.Chmod(f, fs.FileMode(0o600|a.random.IntN(0o200))))
	case 9:
		past := time.Unix(int64(1_500_000_000+a.random.IntN(1000)), 0)
		a.must(os.Chtimes(f, past, past))
	case 10:
		a.must(os.Symlink(path.Base(f), filepath.Join(filepath.Dir(f), fmt.Sprintf("l%d", a.random.Uint32()))))
	case 11:
		a.must(os.MkdirAll(a.fresh()+"/in", 0o750))
	case 12:
		a.must(os.WriteFile(a.fresh(), nil, 0o640))
	case 13: // none of its own names any more
		if st, err := os.Lstat(a.top); err == nil && !a.linked && st.IsDir() {
			a.part()
		}
	}
	a.unhang()
}

func (a *follower) rename(from, to string) {
	if !strings.HasPrefix(to, from+"/") {
		a.must(os.Rename(from, to))
	}
}

// part gives each name a file of its own.
func (a *follower) part() {
	a.must(filepath.WalkDir(a.top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil {
			err = errors.Join(os.Remove(p), os.WriteFile(p, data, 0o600), os.Chmod(p, st.Mode().Perm()), os.Chtimes(p, st.ModTime(), st.ModTime()))
		}
		return err
	}))
}

// unhang removes symlinks that lead nowhere.
func (a *follower) unhang() {
	for {
		hangs := a.some(func(st fs.FileInfo) bool { return strings.HasPrefix(st.Name(), "l") })
		if hangs == "" || a.random.IntN(3) > 0 {
			return
		}
		a.must(os.Remove(hangs))
	}
}

// follow brings a release to the node, or a part of it, which the next one is to
// take over.
func (a *follower) follow(res *Result) {
	a.Helper()
	from := a.release(res.ID)
	r, err := a.node.Stage(from.Manifest, res.ID, store.Meta{Manifest: a.meta(res, "manifest.json"), ManifestSig: a.meta(res, "manifest.json.minisig")})
	a.must(err)
	data, sig, p, err := a.st.Pointer(res.Channel)
	a.must(err)
	a.must(a.node.SetPointer(res.Channel, data, sig, p))
	if a.random.IntN(3) == 0 {
		a.open()
		r, err = a.node.Release(res.ID)
		a.must(err)
	}
	placed := map[string]int{}
	lay, err := r.Manifest.Layout()
	a.must(err)
	want := func(i int) bool { _, ok := placed[lay.Files[i].Path]; return !ok }
	take := func(got *store.Reused, err error) {
		a.Helper()
		a.must(err)
		for _, i := range got.Files {
			placed[lay.Files[i].Path] = i
		}
	}
	take(a.node.Reuse(a.Context(), res.ID, store.ReuseLink, want))
	if old, err := a.node.Release(a.begun); err == nil && !old.Complete {
		was, err := old.Manifest.Layout()
		a.must(err)
		whole := func(i int) bool { _, ok := a.placed[was.Files[i].Path]; return ok }
		take(a.node.TakeOver(a.Context(), res.ID, a.begun, whole, want))
	}
	stop := a.random.IntN(4) == 0
	for i, f := range lay.Files {
		if f.Length == 0 || !want(i) || stop && a.random.IntN(2) == 0 {
			continue
		}
		a.fetch(from, r, f.Path)
		placed[f.Path] = i
	}
	a.begun, a.placed = "", nil
	if stop {
		a.begun, a.placed = res.ID, placed
		return
	}
	if a.random.IntN(4) == 0 {
		a.open()
	}
	_, err = a.node.Commit(a.Context(), res.ID)
	a.must(err)
	_, err = a.node.Activate(a.Context(), res.ID)
	a.must(err)
	a.sound(a.node)
	a.compare(a.top, filepath.Join(a.dir, "site"))
	if _, err := a.node.Prune(a.Context(), 3, nil); err != nil {
		a.Fatal(err)
	}
	if a.random.IntN(4) > 0 {
		_, err = a.node.PrepareSpare(a.Context(), res.Channel)
		a.must(err)
	}
}

// fetch puts one file into the staging folder, as the swarm does.
func (a *follower) fetch(from, to *store.Release, name string) {
	a.Helper()
	data, err := os.ReadFile(filepath.Join(from.ContentRoot(), name))
	a.must(err)
	file := filepath.Join(to.ContentRoot(), name)
	a.must(os.MkdirAll(filepath.Dir(file), 0o755))
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Fatal(err)
	}
	a.must(os.WriteFile(file, data, 0o600))
}

// sound checks all complete releases of a store.
func (a *follower) sound(st *store.Store) {
	a.Helper()
	for _, r := range slices.DeleteFunc(st.Releases(), func(r *store.Release) bool { return !r.Complete }) {
		problems, err := st.Verify(context.Background(), r.ID, nil)
		if err != nil || len(problems) > 0 {
			a.Errorf("release %d: problems %v, error %v", r.Manifest.Serial, problems, err)
		}
	}
}
