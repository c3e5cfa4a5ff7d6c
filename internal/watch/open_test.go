package watch

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withoutLeases is the kernel for who may ask for no lease.
func withoutLeases(c *Config, _ *publisher) {
	c.sys = newSystem()
	c.sys.lease = func(int) error { return unix.EACCES }
}

// TestOpenForWriting: a file that somebody writes to holds the release back,
// however it came to be open, with leases and without.
func TestOpenForWriting(t *testing.T) {
	for _, kind := range []struct {
		name   string
		change func(*Config, *publisher)
	}{{"leases", nil}, {"events", withoutLeases}} {
		for _, c := range []struct {
			name string
			open func(dir string) (*os.File, string, error)
			// leases says that events do not tell.
			leases bool
		}{
			{"new", func(dir string) (*os.File, string, error) {
				f, err := os.Create(filepath.Join(dir, "new"))
				return f, "new", err
			}, false},
			{"written", func(dir string) (*os.File, string, error) {
				f, err := os.OpenFile(filepath.Join(dir, "a.html"), os.O_WRONLY|os.O_APPEND, 0)
				if err == nil {
					_, err = f.WriteString("half")
				}
				return f, "a.html", err
			}, false},
			{"moved", func(dir string) (*os.File, string, error) {
				f, err := os.Create(filepath.Join(dir, "new"))
				return f, "moved", errors.Join(err, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "moved")))
			}, false},
			{"folder moved", func(dir string) (*os.File, string, error) {
				f, err := os.Create(filepath.Join(dir, "sub/new"))
				return f, "other/new", errors.Join(err, os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "other")))
			}, false},
			{"in a new folder", func(dir string) (*os.File, string, error) {
				if err := os.MkdirAll(filepath.Join(dir, "x/y"), 0o755); err != nil {
					return nil, "", err
				}
				f, err := os.Create(filepath.Join(dir, "x/y/new"))
				if err == nil {
					time.Sleep(testSettle / 2) // the folder is watched by then
					_, err = f.WriteString("half")
				}
				return f, "x/y/new", err
			}, false},
			{"second writer", func(dir string) (*os.File, string, error) {
				f, err := os.Create(filepath.Join(dir, "new"))
				return f, "new", errors.Join(err, os.WriteFile(filepath.Join(dir, "new"), []byte("x"), 0o644))
			}, true},
			{"other name", func(dir string) (*os.File, string, error) {
				out := filepath.Join(filepath.Dir(dir), "out")
				f, err := os.Create(out)
				return f, "linked", errors.Join(err, os.Link(out, filepath.Join(dir, "linked")))
			}, true},
		} {
			t.Run(kind.name+"/"+c.name, func(t *testing.T) {
				if c.leases && kind.change != nil {
					t.Skip("events do not tell")
				}
				dir := tree1(t)
				must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
				w, p := start(t, dir, kind.change)
				p.published()
				inState(t, w, Watching)
				f, name, err := c.open(dir)
				must(t, err)
				defer func() { _ = f.Close() }()
				if s := inState(t, w, Waiting); s.WaitingFor != name {
					t.Errorf("waiting for %q, want %q", s.WaitingFor, name)
				}
				time.Sleep(5 * testSettle)
				if n := len(p.all()); n != 1 {
					t.Fatalf("%d releases", n)
				}
				_, err = f.WriteString("rest")
				must(t, err)
				must(t, f.Close())
				p.published()
				guessing := kind.change != nil
				if s := inState(t, w, Watching); s.Guessing != guessing || strings.Contains(s.String(), "CAP_LEASE") != guessing {
					t.Errorf("status %+v", s)
				}
				if n := p.log.FilterMessageSnippet("CAP_LEASE").Len(); n > 1 || n == 1 != guessing {
					t.Errorf("it was said %d times", n)
				}
			})
		}
	}
}

// TestOpenedBeforeTheWatch: leases tell of it.
func TestOpenedBeforeTheWatch(t *testing.T) {
	dir := tree1(t)
	f, err := os.Create(filepath.Join(dir, "half"))
	must(t, err)
	defer func() { _ = f.Close() }()
	w, p := start(t, dir, func(c *Config, _ *publisher) { c.MaxDelay = testSettle })
	inState(t, w, Waiting)
	wait(t, "for a warning", func() bool { return p.log.FilterMessageSnippet("holds the release back").Len() == 1 })
	w.Now() // does not make half files whole
	time.Sleep(3 * testSettle)
	if n := len(p.all()); n != 0 {
		t.Fatalf("%d releases", n)
	}
	must(t, f.Close())
	p.published()
}

// TestOpenedAfterTheCheck: a file that was made after the look at who writes,
// and before the tree was read, is found before anything becomes visible.
func TestOpenedAfterTheCheck(t *testing.T) {
	for name, change := range map[string]func(*Config, *publisher){"leases": nil, "events": withoutLeases} {
		t.Run(name, func(t *testing.T) {
			dir := tree1(t)
			var f *os.File
			w, p := start(t, dir, func(c *Config, p *publisher) {
				if change != nil {
					change(c, p)
				}
				publish := c.Publish
				c.Publish = func(ctx context.Context, r *Request) (Outcome, error) {
					if f == nil {
						f, _ = os.Create(filepath.Join(dir, "half"))
						_, _ = f.WriteString("ha")
					}
					return publish(ctx, r)
				}
			})
			inState(t, w, Waiting)
			if n := len(p.all()); n != 0 {
				t.Fatalf("half a file was published: %v", p.last())
			}
			_, _ = f.WriteString("lf")
			must(t, f.Close())
			if r := p.published(); r.files["half"] != "half" {
				t.Errorf("published %v", r.files)
			}
		})
	}
}

func TestReadersDoNotMatter(t *testing.T) {
	dir := tree1(t)
	f, err := os.Open(filepath.Join(dir, "a.html"))
	must(t, err)
	defer func() { _ = f.Close() }()
	w, p := start(t, dir, withoutLeases)
	p.published()
	inState(t, w, Watching)
	must(t, os.Link(filepath.Join(dir, "a.html"), filepath.Join(dir, "b.html")))
	p.published()
}

// TestLostEvents: with more events than the kernel keeps, everything is looked
// through again.
func TestLostEvents(t *testing.T) {
	dir := tree1(t)
	w, p := start(t, dir, nil)
	p.published()
	inState(t, w, Watching)
	var f *os.File
	lose(t, w, func() {
		write(t, filepath.Join(dir, "new/folder/file"), "unheard of")
		var err error
		f, err = os.Create(filepath.Join(dir, "half"))
		must(t, err)
	})
	defer func() { _ = f.Close() }()
	if s := inState(t, w, Waiting); s.WaitingFor != "half" {
		t.Errorf("waiting for %q", s.WaitingFor)
	}
	must(t, f.Close())
	p.published()
	if s := inState(t, w, Watching); s.Overflows == 0 || s.Folders != 3 {
		t.Errorf("status %+v", s)
	}
	write(t, filepath.Join(dir, "new/folder/file"), "heard of")
	p.published()
}

// lose does something of which no event tells, as the queue is full.
func lose(t *testing.T, w *Watch, do func()) {
	t.Helper()
	limit := sysctl("max_queued_events")
	if limit == 0 || limit > 100000 {
		t.Skipf("the queue of inotify holds %d events", limit)
	}
	w.tree.mu.Lock() // nobody takes events in
	defer w.tree.mu.Unlock()
	a, b := filepath.Join(w.cfg.Path, "a.html"), filepath.Join(w.cfg.Path, "b.html")
	for range limit/2 + 1 {
		must(t, os.Rename(a, b))
		must(t, os.Rename(b, a))
	}
	do()
}

// TestLostEventsWhilePublishing: then it is not known who writes, and nothing is
// published.
func TestLostEventsWhilePublishing(t *testing.T) {
	dir := tree1(t)
	var w *Watch
	done := false
	w, p := start(t, dir, func(c *Config, p *publisher) {
		c.Paused = true
		p.during = func() {
			if !done {
				lose(t, w, func() {})
			}
			done = true
		}
	})
	inState(t, w, Paused)
	w.Resume()
	p.published()
	if p.tried() < 2 || w.Status().Retries == 0 {
		t.Errorf("%d tries, %+v", p.tried(), w.Status())
	}
}

// TestLimits: what cannot be watched is looked through, and the message says
// which limit to raise.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name    string
		system  func(*system, *bool)
		message string
	}{
		{"watches", func(s *system, lifted *bool) {
			add := s.add
			s.add = func(fd int, path string, mask uint32) (int, error) {
				real, _ := os.Readlink(path)
				if !*lifted && strings.Contains(real, "deep") {
					return -1, unix.ENOSPC
				}
				return add(fd, path, mask)
			}
		}, "2 of 3 folders are not watched: fs.inotify.max_user_watches is "},
		{"instances", func(s *system, lifted *bool) {
			init := s.init
			s.init = func() (int, error) {
				if !*lifted {
					return -1, unix.EMFILE
				}
				return init()
			}
		}, "fs.inotify.max_user_instances is "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree1(t)
			write(t, filepath.Join(dir, "deep/er/x"), "x")
			lifted := false
			w, p := start(t, dir, func(cfg *Config, _ *publisher) {
				cfg.sys, cfg.partEach = newSystem(), 300*time.Millisecond
				c.system(cfg.sys, &lifted)
			})
			p.published()
			if s := w.Status(); !strings.Contains(s.Incomplete, c.message) || !strings.Contains(s.Incomplete, "sysctl -w fs.inotify.") {
				t.Errorf("incomplete: %q", s.Incomplete)
			}
			write(t, filepath.Join(dir, "deep/er/x"), "changed")
			p.published()
			f, err := os.Create(filepath.Join(dir, "deep/er/half"))
			must(t, err)
			if s := inState(t, w, Waiting); s.WaitingFor != "deep/er/half" {
				t.Errorf("waiting for %q", s.WaitingFor)
			}
			must(t, f.Close())
			p.published()
			if n := p.log.FilterMessageSnippet("not all of the tree is watched").Len(); n != 1 {
				t.Errorf("it was said %d times", n)
			}
			w.tree.mu.Lock()
			lifted = true
			w.tree.mu.Unlock()
			wait(t, "for all to be watched", func() bool { s := w.Status(); return s.Incomplete == "" && s.Folders == 3 })
			write(t, filepath.Join(dir, "deep/er/x"), "heard of")
			p.reason("changed: deep/er/x")
		})
	}
}

// TestRescan finds what no event told of: here, a file that was changed by
// another name.
func TestRescan(t *testing.T) {
	dir := tree1(t)
	out := filepath.Join(filepath.Dir(dir), "out")
	must(t, os.Link(filepath.Join(dir, "a.html"), out))
	_, p := start(t, dir, func(c *Config, _ *publisher) { c.Rescan = 300 * time.Millisecond })
	p.published()
	write(t, out, "changed")
	if r := p.reason("rescan: changed in ."); r.files["a.html"] != "changed" {
		t.Errorf("published %v", r.files)
	}
	n := len(p.all())
	time.Sleep(time.Second)
	if len(p.all()) != n {
		t.Error("an unchanged tree was published")
	}
}

// TestMountedTwice: a folder that appears twice is watched in both places.
func TestMountedTwice(t *testing.T) {
	dir := tree1(t)
	write(t, filepath.Join(dir, "one/x"), "x")
	must(t, os.Mkdir(filepath.Join(dir, "two"), 0o755))
	if err := unix.Mount(filepath.Join(dir, "one"), filepath.Join(dir, "two"), "", unix.MS_BIND, ""); err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skipf("mounting: %v", err)
	}
	mounted := true
	defer func() {
		if mounted {
			_ = unix.Unmount(filepath.Join(dir, "two"), unix.MNT_DETACH)
		}
	}()
	w, p := start(t, dir, nil)
	p.published()
	write(t, filepath.Join(dir, "two/y"), "y")
	p.published()
	if s := w.Status(); s.Folders != 3 {
		t.Errorf("%d folders are watched", s.Folders)
	}
	must(t, unix.Unmount(filepath.Join(dir, "two"), 0))
	mounted = false
	w.Now()
	p.published()
	write(t, filepath.Join(dir, "one/z"), "z")
	p.published()
}

// TestUnreadableFolder is tried again when it can be read.
func TestUnreadableFolder(t *testing.T) {
	dir := tree1(t)
	write(t, filepath.Join(dir, "d/x"), "x")
	closed := true
	w, p := start(t, dir, func(c *Config, _ *publisher) {
		c.sys = newSystem()
		add := c.sys.add
		c.sys.add = func(fd int, path string, mask uint32) (int, error) {
			if real, _ := os.Readlink(path); closed && filepath.Base(real) == "d" {
				return -1, unix.EACCES
			}
			return add(fd, path, mask)
		}
	})
	p.published()
	if s := w.Status(); s.Incomplete == "" {
		t.Errorf("status %+v", s)
	}
	w.tree.mu.Lock()
	closed = false
	w.tree.mu.Unlock()
	must(t, os.Chmod(filepath.Join(dir, "d"), 0o700))
	p.reason("changed: d")
	write(t, filepath.Join(dir, "d/y"), "y")
	r := p.published()
	if files, _ := list(dir, nil); !maps.Equal(files, r.files) {
		t.Errorf("published %v", r.files)
	}
}
