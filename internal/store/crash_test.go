package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// life is a node over many restarts: releases that arrive one after the other,
// and what the hook did.
type life struct {
	t        *testing.T
	dir      string
	releases []*fixture
	opts     options
	// runs has the attempt numbers that the hook was run with.
	runs map[string][]int
	// staged has the releases that were staged, which must not be lost.
	staged map[string]bool
	// again says that a hook may have been cut off more than once.
	again bool
}

// live opens the store, checks that it is sound, and goes on from where it is
// until everything is done or the fault strikes.
func (l *life) live(f *faults) error {
	o := l.opts
	o.workers, o.step = 1, f.step
	s, err := open(l.dir, o)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			l.t.Error(err)
		}
	}()
	if !f.dead {
		l.inspect(s)
	}
	for _, r := range l.releases {
		if err := l.arrive(s, f, r); err != nil {
			return err
		}
	}
	_, err = s.Prune(context.Background(), 1, nil)
	return err
}

// arrive does for one release what a node does.
func (l *life) arrive(s *Store, f *faults, r *fixture) error {
	data, sig, p := r.pointer()
	if s.HighestSerial(r.m.Channel) > r.m.Serial {
		return nil // superseded before
	}
	if err := s.PinKey(r.m.Channel, "key"); err != nil {
		return err
	}
	own := *r.m // the store's from here on, and other lives have the release too
	own.Files, own.Dirs = slices.Clone(own.Files), slices.Clone(own.Dirs)
	rel, err := s.Stage(&own, r.id, r.meta)
	if err != nil {
		return err
	}
	l.staged[r.id] = true
	if !rel.Complete {
		rest := r
		if l.opts.spareFiles > 0 {
			if rest, err = takeAll(s, r); err != nil {
				return err
			}
		}
		for p := range rest.files {
			if r.m.Files[r.m.FileIndex(p)].InTorrent() {
				f.writes(filepath.Join(rel.ContentRoot(), r.m.ContentPath(p)))
			}
		}
		if err := rest.fetch(rel); err != nil {
			return err
		}
	}
	if _, err := s.Commit(context.Background(), r.id); err != nil {
		return err
	}
	if err := s.SetPointer(r.m.Channel, data, sig, p); err != nil {
		return err
	}
	if _, err := s.Activate(context.Background(), r.id, WithHook()); err != nil {
		return err
	}
	if err := l.hooks(s); err != nil || l.opts.spareFiles == 0 {
		return err
	}
	_, err = s.PrepareSpare(context.Background(), r.m.Channel)
	return err
}

func (l *life) hooks(s *Store) error {
	for _, p := range s.PendingHooks() {
		attempt, err := s.HookStart(p.ID)
		if err != nil {
			return err
		}
		if _, err := os.Stat(p.ChangedFile); err != nil {
			l.t.Errorf("hook without its list of changes: %v", err)
		}
		l.runs[p.ID] = append(l.runs[p.ID], attempt)
		if err := s.HookDone(p.ID, "ok"); err != nil {
			return err
		}
	}
	return nil
}

// inspect checks what must hold after every start, whatever came before.
func (l *life) inspect(s *Store) {
	l.t.Helper()
	for i, r := range l.releases {
		rel, err := s.Release(r.id)
		if err == nil && rel.Complete {
			wantSound(l.t, s, r.id)
		}
		// One is removed when the second after it is live.
		after, _ := s.Live(r.m.Channel)
		gone := slices.IndexFunc(l.releases, func(f *fixture) bool { return f.id == after }) >= i+2
		if err != nil && l.staged[r.id] && !gone {
			l.t.Errorf("staged release %d is lost", r.m.Serial)
		}
		if _, _, p, perr := s.Pointer(r.m.Channel); perr == nil && p.Manifest == r.id && (err != nil || !rel.Complete) {
			l.t.Errorf("the pointer names release %d, which is not complete", r.m.Serial)
		}
		if id, _ := s.Live(r.m.Channel); id == r.id {
			wantLive(l.t, s, r)
			due := slices.ContainsFunc(s.PendingHooks(), func(p PendingHook) bool { return p.ID == id })
			if ran := len(l.runs[id]) > 0; due == s.Hooks(id).Finished || !due && !ran {
				l.t.Errorf("live release %d: hook due %v, ran %v, record %+v", r.m.Serial, due, l.runs[id], s.Hooks(id))
			}
		}
	}
	l.inspectNames(s)
	for _, d := range []string{tmpDir, trashDir} {
		left := slices.DeleteFunc(list(l.t, filepath.Join(l.dir, d)), func(name string) bool {
			return l.opts.spareFiles > 0 && strings.HasPrefix(name, sparePrefix)
		})
		if len(left) > 0 {
			l.t.Errorf("%s holds %v", d, left)
		}
	}
	err := s.view(func(t tx) error {
		if open := keys(t, bucketJournal); len(open) > 0 {
			l.t.Errorf("journal is open for %v", open)
		}
		return nil
	})
	if err != nil {
		l.t.Error(err)
	}
}

// inspectNames checks that nothing is visible but what is live, or was under
// another name.
func (l *life) inspectNames(s *Store) {
	l.t.Helper()
	for _, n := range list(l.t, l.dir) {
		if n == ownDir {
			continue
		}
		rec, err := s.nameRec(n)
		if err != nil || rec.ID == "" {
			l.t.Errorf("%s is visible, but not known: %v", n, err)
			continue
		}
		for _, r := range l.releases {
			if got, err := shown(l.dir, n); r.id == rec.ID && (err != nil || !maps.Equal(got, r.files)) {
				l.t.Errorf("%s does not show release %d (%v)", n, r.m.Serial, err)
			}
		}
	}
}

// finish lets the life go on without faults and checks how it ends.
func (l *life) finish(f *faults) {
	l.t.Helper()
	if err := l.live(&faults{dir: l.dir}); err != nil {
		l.t.Fatalf("cannot go on: %v", err)
	}
	s, err := Open(l.dir, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l.inspect(s)
	wantLive(l.t, s, l.releases[len(l.releases)-1])
	for _, r := range l.releases {
		want := []int{1}
		if inRun := f.where.kind == "transaction" && f.where.path == "end of the hook of release "+r.id; inRun {
			want = []int{1, 2}
		}
		if !slices.Equal(l.runs[r.id], want) && !(l.again && slices.Equal(l.runs[r.id], []int{1, 2})) {
			l.t.Errorf("hook of release %d ran with attempts %v, want %v", r.m.Serial, l.runs[r.id], want)
		}
	}
	if n := len(s.Releases()); n != 2 {
		l.t.Errorf("%d releases are left, want the live and the previous one", n)
	}
}

func lifetimes() map[string][]*fixture {
	return map[string][]*fixture{
		"trees":      {tree(1, "one"), tree(2, "two"), tree(3, "three")},
		"files":      {iso(1, "one"), iso(2, "two"), iso(3, strings.Repeat("three", 1000))},
		"same bytes": {iso(1, "same"), iso(2, "same"), iso(3, "same")},
		"hard links": {
			makeFixture("web", "site", 1, map[string]string{"a": "same", "d/b => a": "", "empty": "", "f => empty": ""}),
			makeFixture("web", "site", 2, map[string]string{"a": "same", "d/b => a": "", "d/c => a": "", "empty": "", "f": ""}),
			makeFixture("web", "site", 3, map[string]string{"a": "same", "d/b": "same", "d/c => a": "", "empty": "", "f => empty": ""}),
		},
		"new names": {
			makeFixture("new", "v1", 1, map[string]string{"v1": "one"}),
			makeFixture("new", "v2", 2, map[string]string{"tree": "two"}),
			makeFixture("new", "v3", 3, map[string]string{"v3": "three"}),
			makeFixture("new", "v4", 4, map[string]string{"tree": "four"}),
		},
		"both kinds": {
			makeFixture("mix", "it", 1, map[string]string{"it": "a file"}),
			makeFixture("mix", "it", 2, map[string]string{"f": "in a tree"}),
			makeFixture("mix", "it", 3, map[string]string{"it": "a file again"}),
		},
	}
}

// TestEveryFault lets every single step of a node's life go wrong, in each of
// three ways.
func TestEveryFault(t *testing.T) {
	for name, releases := range lifetimes() {
		for _, copies := range []bool{false, true} {
			if copies && name != "files" && name != "both kinds" {
				continue // the others add nothing to these
			}
			for _, kind := range []fault{refuse, kill, powerCut} {
				t.Run(fmt.Sprintf("%s/copies=%v/%v", name, copies, kind), func(t *testing.T) {
					t.Parallel()
					eachStep(t, releases, kind, options{noHardLinks: copies})
				})
			}
		}
	}
}

func eachStep(t *testing.T, releases []*fixture, kind fault, o options) {
	base := fastDir(t)
	for at := 1; ; at += stride() {
		l := &life{t: t, dir: filepath.Join(base, fmt.Sprint(at)), releases: releases, runs: map[string][]int{}, staged: map[string]bool{}, opts: o}
		check(t, os.MkdirAll(l.dir+".kept", 0o700))
		f := &faults{dir: l.dir, kind: kind, at: at, dirty: map[string]bool{}}
		err := l.live(f)
		if f.where == (op{}) {
			check(t, err)
			if at < 100 {
				t.Errorf("only %d steps", at)
			}
			return
		}
		if kind != refuse && !errors.Is(err, errInjected) {
			t.Errorf("step %d, %+v: error %v, want the injected one", at, f.where, err)
		}
		if kind == powerCut {
			f.cut()
		}
		if len(f.early) > 0 {
			t.Errorf("deleted before its removal was durable: %v", f.early)
		}
		l.finish(f)
		check(t, os.RemoveAll(l.dir))
		check(t, os.RemoveAll(l.dir+".kept"))
		if t.Failed() {
			t.Fatalf("after %v at step %d: %+v", kind, at, f.where)
		}
	}
}

// TestRetriesWithoutRestart lets a step fail once and tries again in the same
// process, as a node does.
func TestRetriesWithoutRestart(t *testing.T) {
	for name, releases := range lifetimes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := fastDir(t)
			for at := 1; ; at += stride() {
				l := &life{t: t, dir: filepath.Join(base, fmt.Sprint(at)), releases: releases, runs: map[string][]int{}, staged: map[string]bool{}}
				f := &faults{dir: l.dir}
				s, err := open(l.dir, options{workers: 1, step: f.step})
				check(t, err)
				f.at = f.n + at
				for try := 0; ; try++ {
					err := l.all(s, f)
					if err == nil {
						break
					}
					if try > 1 {
						t.Fatalf("step %+v fails for good: %v", f.where, err)
					}
				}
				wantLive(t, s, releases[len(releases)-1])
				check(t, s.Close())
				if f.where == (op{}) {
					return
				}
				l.finish(f)
				if t.Failed() {
					t.Fatalf("after an error at step %d: %+v", at, f.where)
				}
			}
		})
	}
}

// TestPowerCutAfterKill kills the process and, some steps after its restart,
// cuts the power: what the first process did not sync is lost as well.
func TestPowerCutAfterKill(t *testing.T) {
	for name, releases := range lifetimes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := fastDir(t)
			random := rand.New(rand.NewPCG(1, 2))
			for run := range 30 {
				l := &life{t: t, dir: filepath.Join(base, fmt.Sprint(run)), releases: releases, runs: map[string][]int{}, staged: map[string]bool{}}
				check(t, os.MkdirAll(l.dir+".kept", 0o700))
				f := &faults{dir: l.dir, kind: kill, at: 1 + random.IntN(120), dirty: map[string]bool{}}
				_ = l.live(f)
				g := &faults{dir: l.dir, kind: powerCut, at: 1 + random.IntN(30), n: 1000, dirty: f.dirty, undo: f.undo}
				g.at += g.n
				_ = l.live(g)
				g.cut()
				l.again = true
				l.finish(g)
				if t.Failed() {
					t.Fatalf("after kill -9 at %+v and power cut at %+v", f.where, g.where)
				}
				check(t, os.RemoveAll(l.dir))
				check(t, os.RemoveAll(l.dir+".kept"))
			}
		})
	}
}

func (l *life) all(s *Store, f *faults) error {
	for _, r := range l.releases {
		if err := l.arrive(s, f, r); err != nil {
			return err
		}
	}
	_, err := s.Prune(context.Background(), 1, nil)
	return err
}

// stride is 1, so that every step is tried, and more with -short.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}
