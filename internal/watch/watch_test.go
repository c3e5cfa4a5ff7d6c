package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChangesArePublished(t *testing.T) {
	dir := tree1(t)
	outside := t.TempDir()
	w, p := start(t, dir, nil)
	if r := p.published(); r.because != "first look" {
		t.Errorf("the first release came because of %q", r.because)
	}
	inState(t, w, Watching)
	for _, c := range []struct {
		what    string
		do      func() error
		because string
	}{
		{"written", func() error { return os.WriteFile(filepath.Join(dir, "a.html"), []byte("b"), 0o644) }, "changed: a.html, settled after"},
		{"mode", func() error { return os.Chmod(filepath.Join(dir, "a.html"), 0o600) }, "changed: a.html"},
		{"folder", func() error { return os.MkdirAll(filepath.Join(dir, "d/e/f/g"), 0o755) }, "changed: d and 3 more"},
		{"in the new folder", func() error { return os.WriteFile(filepath.Join(dir, "d/e/f/g/x"), []byte("x"), 0o644) }, "changed: d/e/f/g/x"},
		{"moved within", func() error { return os.Rename(filepath.Join(dir, "d/e"), filepath.Join(dir, "m")) }, "changed: d/e and "},
		{"in the moved folder", func() error { return os.WriteFile(filepath.Join(dir, "m/f/g/y"), []byte("y"), 0o644) }, "changed: m/f/g/y"},
		{"moved out", func() error { return os.Rename(filepath.Join(dir, "m"), filepath.Join(outside, "m")) }, "changed: m"},
		{"moved in", func() error { return os.Rename(filepath.Join(outside, "m"), filepath.Join(dir, "n")) }, "changed: n and 4 more"},
		{"in what was moved in", func() error { return os.Remove(filepath.Join(dir, "n/f/g/y")) }, "changed: n/f/g/y"},
		{"symlink", func() error { return os.Symlink("d", filepath.Join(dir, "link")) }, "changed: link"},
		{"removed", func() error { return os.RemoveAll(filepath.Join(dir, "n")) }, "changed: n/"},
	} {
		n := len(p.all())
		must(t, c.do())
		wait(t, c.what, func() bool { return len(p.all()) > n })
		if r := p.published(); !strings.HasPrefix(r.because, c.because) {
			t.Errorf("%s: published because of %q, want %q", c.what, r.because, c.because)
		}
	}
	if s := w.Status(); s.Incomplete != "" || s.Guessing || s.Folders != 2 {
		t.Errorf("at the end: %+v", s)
	}
}

// TestOutsideIsOfNoInterest: what has left the tree, and what a symlink leads
// to, is not watched.
func TestOutsideIsOfNoInterest(t *testing.T) {
	dir, outside := tree1(t), t.TempDir()
	write(t, filepath.Join(dir, "d/x"), "x")
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	w, p := start(t, dir, nil)
	p.published()
	must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(outside, "d")))
	p.published()
	inState(t, w, Watching)
	heard, n := w.Status().Events, len(p.all())
	write(t, filepath.Join(outside, "d/y"), "y")
	write(t, filepath.Join(outside, "z"), "z")
	write(t, filepath.Join(dir, "end"), "")
	p.published()
	if got := w.Status().Events - heard; len(p.all()) != n+1 || got > 4 {
		t.Errorf("%d events, and %d releases", got, len(p.all())-n)
	}
}

// TestFoldersFilledAtOnce: no file is missed in folders that are made while
// others are.
func TestFoldersFilledAtOnce(t *testing.T) {
	dir := tree1(t)
	w, p := start(t, dir, nil)
	p.published()
	for round := range 5 {
		for i := range 60 {
			d := filepath.Join(dir, fmt.Sprintf("r%d/%d/%d/%d", round, i%3, i%7, i))
			write(t, filepath.Join(d, "x"), fmt.Sprint(i))
			write(t, filepath.Join(filepath.Dir(d), fmt.Sprint("f", i)), fmt.Sprint(i))
			if i%5 == 0 {
				must(t, os.Rename(d, d+"moved"))
			}
		}
		p.published()
	}
	// Each folder is watched, and none that is gone.
	folders := 0
	files, err := list(dir, nil)
	must(t, err)
	for name := range files {
		if strings.HasSuffix(name, "/") {
			folders++
		}
	}
	inState(t, w, Watching)
	if s := w.Status(); s.Folders != folders {
		t.Errorf("%d folders are watched of %d", s.Folders, folders)
	}
}

func TestRootComesAndGoes(t *testing.T) {
	for name, c := range map[string]struct{ path, away, back func(dir string) error }{
		"removed":               {nil, os.RemoveAll, nil},
		"renamed":               {nil, func(dir string) error { return os.Rename(dir, dir+".old") }, nil},
		"with the folder above": {nil, func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) }, nil},
		"renamed and back": {nil, func(dir string) error { return os.Rename(dir, dir+".old") }, func(dir string) error {
			return errors.Join(os.WriteFile(dir+".old/b", []byte("new"), 0o644), os.Rename(dir+".old", dir))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree1(t)
			w, p := start(t, dir, nil)
			p.published()
			n := len(p.all())
			must(t, c.away(dir))
			if s := inState(t, w, Missing); !strings.Contains(s.Problem, "no such file") {
				t.Errorf("the status says %q", s.Problem)
			}
			if c.back != nil {
				must(t, c.back(dir))
			} else {
				write(t, filepath.Join(dir, "b"), "new")
			}
			p.published()
			write(t, filepath.Join(dir, "c"), "later")
			p.published()
			if got := len(p.all()) - n; got < 1 || got > 2 {
				t.Errorf("%d releases", got)
			}
		})
	}
}

// TestSymlinkIsSwitched: a deployment that keeps versions and switches a
// symlink.
func TestSymlinkIsSwitched(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "v1/a"), "1")
	write(t, filepath.Join(top, "v2/a"), "2")
	link := filepath.Join(top, "www")
	must(t, os.Symlink("v1", link))
	_, p := start(t, link, nil)
	p.published()
	must(t, os.Symlink("v2", link+".new"))
	must(t, os.Rename(link+".new", link))
	if r := p.published(); r.files["a"] != "2" {
		t.Errorf("published %v", r.files)
	}
	write(t, filepath.Join(top, "v2/b"), "3")
	p.published()
}

func TestSingleFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "site.tar")
	write(t, file, "1")
	w, p := start(t, file, nil)
	p.published()
	inState(t, w, Watching)
	n := len(p.all())
	write(t, filepath.Join(filepath.Dir(file), "beside"), "")
	write(t, file, "2")
	if r := p.published(); !strings.HasPrefix(r.because, "changed: site.tar") || len(p.all()) != n+1 {
		t.Errorf("%d releases, because %s", len(p.all())-n, r.because)
	}
	write(t, file+".new", "3")
	must(t, os.Rename(file+".new", file))
	p.published()
	must(t, os.Remove(file))
	inState(t, w, Missing)
	write(t, file, "4")
	p.published()
}

func TestMissingAtTheStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "www")
	w, p := start(t, dir, nil)
	inState(t, w, Missing)
	write(t, filepath.Join(dir, "a"), "a")
	p.published()
}

func TestMarker(t *testing.T) {
	dir := tree1(t)
	w, p := start(t, dir, func(c *Config, _ *publisher) { c.Marker = ".publish" })
	inState(t, w, Watching)
	write(t, filepath.Join(dir, "b"), "b")
	wait(t, "for the change to be seen", func() bool { return w.Status().Changed > 0 })
	time.Sleep(3 * testSettle)
	if n := len(p.all()); n > 0 {
		t.Fatalf("%d releases without the marker", n)
	}
	marker := filepath.Join(dir, ".publish")
	write(t, marker, "")
	r := p.reason("marker .publish")
	if _, ok := r.files[".publish"]; ok || r.files["b"] != "b" {
		t.Errorf("published %v", r.files)
	}
	write(t, filepath.Join(dir, "sub/.publish"), "") // only the one at the top counts, and this is content
	now := time.Now()
	must(t, os.Chtimes(marker, now, now))
	wait(t, "for the second touch", func() bool { return len(p.all()) == 2 })
	if r := p.last(); r.files["sub/.publish"] != "" || r.because != "marker .publish" {
		t.Errorf("%+v", r)
	}
	must(t, os.Remove(marker)) // no reason to publish
	write(t, filepath.Join(dir, "c"), "c")
	wait(t, "for the change to be seen", func() bool { return w.Status().Changed > 0 })
	time.Sleep(3 * testSettle)
	if n := len(p.all()); n != 2 {
		t.Errorf("%d releases", n)
	}
}

// TestMarkerTouchedWhileAway: a marker that was touched after the last release
// counts at the start, an older one does not.
func TestMarkerTouchedWhileAway(t *testing.T) {
	dir := tree1(t)
	write(t, filepath.Join(dir, ".publish"), "")
	for since, want := range map[time.Duration]int{-time.Hour: 1, time.Hour: 0} {
		w, p := start(t, dir, func(c *Config, _ *publisher) { c.Marker, c.Since = ".publish", time.Now().Add(since) })
		wait(t, "for the first look", func() bool { return w.Status().Rescans > 0 })
		inState(t, w, Watching)
		if n := len(p.all()); n != want {
			t.Errorf("release made %s before: %d releases", -since, n)
		}
	}
}

func TestPauseAndNow(t *testing.T) {
	dir := tree1(t)
	w, p := start(t, dir, func(c *Config, _ *publisher) { c.Paused = true })
	inState(t, w, Paused)
	time.Sleep(3 * testSettle)
	if n := len(p.all()); n > 0 {
		t.Fatalf("%d releases in a pause", n)
	}
	w.Now()
	p.reason("asked for by the operator")
	if s := inState(t, w, Paused); !s.Paused {
		t.Error("the pause has ended")
	}
	write(t, filepath.Join(dir, "b"), "b")
	wait(t, "for the change to be seen", func() bool { return w.Status().Changed > 0 })
	w.Resume()
	p.published()
	w.Pause()
	inState(t, w, Paused)
	write(t, filepath.Join(dir, "c"), "c")
	wait(t, "for the change to be seen", func() bool { return w.Status().Changed > 0 })
	time.Sleep(3 * testSettle)
	if n := len(p.all()); n != 2 {
		t.Errorf("%d releases", n)
	}
}

// TestKnownTree: a tree that was published by a run before is not published
// again, and one that has changed is.
func TestKnownTree(t *testing.T) {
	dir := tree1(t)
	_, p := start(t, dir, nil)
	known := p.published().digest
	w, p := start(t, dir, func(c *Config, _ *publisher) { c.Known = known })
	wait(t, "for the first look", func() bool { return w.Status().Rescans > 0 })
	inState(t, w, Watching)
	time.Sleep(3 * testSettle)
	if p.tried() > 0 {
		t.Error("the same tree was published again")
	}
	write(t, filepath.Join(dir, "sub/b"), "b")
	p.published()
	_, p = start(t, dir, func(c *Config, _ *publisher) { c.Known = known })
	p.reason("changed since the last run")
}

func TestErrorsOfPublishing(t *testing.T) {
	t.Run("passing", func(t *testing.T) {
		dir := tree1(t)
		w, p := start(t, dir, func(_ *Config, p *publisher) { p.fail = Later(errors.New("busy")) })
		wait(t, "for three tries", func() bool { return p.tried() >= 3 })
		if s := w.Status(); s.Retries < 2 || s.Refusals > 0 || s.Last == nil || s.Last.Error != "busy" {
			t.Errorf("status %+v", s)
		}
		p.set(func() { p.fail = nil })
		p.published()
	})
	t.Run("lasting", func(t *testing.T) {
		dir := tree1(t)
		w, p := start(t, dir, func(_ *Config, p *publisher) { p.fail = errors.New("bad name") })
		if s := inState(t, w, Held); s.Problem != "bad name" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(5 * testSettle)
		if n := p.tried(); n != 1 {
			t.Errorf("%d tries without a change", n)
		}
		write(t, filepath.Join(dir, "b"), "b")
		wait(t, "for another try", func() bool { return p.tried() == 2 })
		inState(t, w, Held)
		if n := p.log.FilterMessageSnippet("tried again when the tree has changed").Len(); n != 2 {
			t.Errorf("it was said %d times", n)
		}
		p.set(func() { p.fail = nil })
		write(t, filepath.Join(dir, "c"), "c")
		p.published()
		if s := inState(t, w, Watching); s.Problem != "" || s.Published != 1 {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("lasting, gone by itself", func(t *testing.T) {
		dir := tree1(t)
		_, p := start(t, dir, func(c *Config, p *publisher) { c.Rescan, p.fail = 300*time.Millisecond, errors.New("disk full") })
		wait(t, "for two tries", func() bool { return p.tried() == 2 })
		p.set(func() { p.fail = nil })
		p.reason(triedAgain)
	})
}

// TestRetry: what is held is tried again when somebody says so, and only that.
func TestRetry(t *testing.T) {
	w, p := start(t, tree1(t), func(_ *Config, p *publisher) { p.fail = errors.New("too many deleted") })
	inState(t, w, Held)
	p.set(func() { p.fail = nil })
	w.Retry()
	p.reason(triedAgain)
	inState(t, w, Watching)
	w.Retry()
	time.Sleep(3 * testSettle)
	if n := p.tried(); n != 2 {
		t.Errorf("%d tries", n)
	}
}

func TestChangeWhilePublishing(t *testing.T) {
	dir := tree1(t)
	_, p := start(t, dir, func(_ *Config, p *publisher) {
		p.during = func() {
			p.set(func() { p.during = nil })
			write(t, filepath.Join(dir, "b"), "b")
		}
	})
	p.published()
	if n := len(p.all()); n != 1 || p.tried() != 2 {
		t.Errorf("%d releases after %d tries", n, p.tried())
	}
}

// TestConstantChange: what never settles is published after the longest delay.
func TestConstantChange(t *testing.T) {
	dir := tree1(t)
	w, p := start(t, dir, func(c *Config, _ *publisher) { c.Settle, c.MaxDelay = 500*time.Millisecond, 2*time.Second })
	p.published()
	inState(t, w, Watching)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_ = os.WriteFile(filepath.Join(dir, "a.html"), []byte(fmt.Sprint(i)), 0o644)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	p.reason("still changing after 2.")
}

func TestNewRefuses(t *testing.T) {
	ok := Config{Path: "/x", Settle: 1, MaxDelay: 1, Rescan: 1, Publish: func(context.Context, *Request) (Outcome, error) { return Outcome{}, nil }}
	if _, err := New(ok); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Path = "" }, func(c *Config) { c.Settle = 0 }, func(c *Config) { c.Settle = 2 }, func(c *Config) { c.Rescan = 0 }, func(c *Config) { c.Publish = nil },
	} {
		c := ok
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}
