package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distd/internal/publish"
)

// withRules has the watch and its publisher go by the rules of real releases.
func withRules(c *Config, p *publisher) {
	c.Rules = func(dir string) (Rules, error) {
		g, err := publish.OpenIgnore(dir, nil)
		if err != nil {
			return nil, err
		}
		return g, nil
	}
	c.RulesFile = publish.IgnoreFile
	p.leaveOut = func(path string) bool {
		g, err := publish.OpenIgnore(p.dir, nil)
		return err == nil && g.LeaveOut(path, false)
	}
}

const testRules = "node_modules\n**/*.log\nbuild\n!build/keep\n"

// TestIgnoredIsNotWatched: what is left out wakes nobody, takes no watch, and
// holds nothing back.
func TestIgnoredIsNotWatched(t *testing.T) {
	for name, change := range map[string]func(*Config, *publisher){"leases": nil, "events": withoutLeases} {
		t.Run(name, func(t *testing.T) {
			dir := tree1(t)
			write(t, filepath.Join(dir, publish.IgnoreFile), testRules)
			write(t, filepath.Join(dir, "node_modules/a/b/x"), "x")
			write(t, filepath.Join(dir, "build/keep/x"), "x")
			write(t, filepath.Join(dir, "build/out/x"), "x")
			f, err := os.Create(filepath.Join(dir, "access.log"))
			must(t, err)
			defer func() { _ = f.Close() }()
			w, p := start(t, dir, func(c *Config, p *publisher) {
				if change != nil {
					change(c, p)
				}
				withRules(c, p)
			})
			wait(t, "for the first release", func() bool { return len(p.all()) == 1 })
			s := inState(t, w, Watching)
			if s.Folders != 3 || s.Ignored != 3 || !strings.Contains(s.String(), "3 ignored") { // ., build and build/keep; node_modules, access.log and build/out
				t.Errorf("at first: %+v", s)
			}
			for name := range p.last().files {
				if strings.Contains(name, "node_modules") || strings.Contains(name, ".log") || strings.Contains(name, "out") {
					t.Errorf("%s was published", name)
				}
			}
			_, err = f.WriteString("a line\n")
			must(t, err)
			write(t, filepath.Join(dir, "node_modules/a/b/y"), "y")
			write(t, filepath.Join(dir, "build/out/sub/y"), "y")
			must(t, os.Mkdir(filepath.Join(dir, "new"), 0o755))
			write(t, filepath.Join(dir, "new/error.log"), "")
			p.reason("changed: new, settled")
			inState(t, w, Watching)
			tried := p.tried()
			write(t, filepath.Join(dir, "new/error.log"), "more")
			must(t, os.Rename(filepath.Join(dir, "node_modules"), filepath.Join(dir, "old")))
			must(t, os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "node_modules")))
			write(t, filepath.Join(dir, "end"), "")
			p.reason("changed: old and ")
			if s := inState(t, w, Watching); s.Folders != 4 || p.tried() != tried+1 {
				t.Errorf("at the end: %+v, %d tries", s, p.tried()-tried)
			}
		})
	}
}

// TestIgnoredFileIsMoved: one that is written to as something that is left out,
// and then gets its name, is waited for.
func TestIgnoredFileIsMoved(t *testing.T) {
	for name, change := range map[string]func(*Config, *publisher){"leases": nil, "events": withoutLeases} {
		t.Run(name, func(t *testing.T) {
			dir := tree1(t)
			write(t, filepath.Join(dir, publish.IgnoreFile), "*.tmp")
			w, p := start(t, dir, func(c *Config, p *publisher) {
				if change != nil {
					change(c, p)
				}
				withRules(c, p)
			})
			wait(t, "for the first release", func() bool { return len(p.all()) == 1 })
			inState(t, w, Watching)
			f, err := os.Create(filepath.Join(dir, "b.tmp"))
			must(t, err)
			defer func() { _ = f.Close() }()
			_, err = f.WriteString("half")
			must(t, err)
			write(t, filepath.Join(dir, "other"), "") // a release, and a look through the tree, with the file open
			p.reason("changed: other")
			must(t, os.Rename(filepath.Join(dir, "b.tmp"), filepath.Join(dir, "b")))
			if s := inState(t, w, Waiting); s.WaitingFor != "b" {
				t.Errorf("waiting for %q", s.WaitingFor)
			}
			must(t, f.Close())
			if r := p.reason("changed: b,"); r.files["b"] != "half" {
				t.Errorf("published %v", r.files)
			}
		})
	}
}

// TestRulesChange: what is left out no longer is watched, checked for writers and
// published, and the reverse.
func TestRulesChange(t *testing.T) {
	dir := tree1(t)
	rules := filepath.Join(dir, publish.IgnoreFile)
	write(t, rules, "big\n")
	write(t, filepath.Join(dir, "big/er/x"), "x")
	write(t, filepath.Join(dir, "logs/y"), "y")
	half, err := os.Create(filepath.Join(dir, "big/half"))
	must(t, err)
	defer func() { _ = half.Close() }()
	w, p := start(t, dir, withRules)
	wait(t, "for the first release", func() bool { return len(p.all()) == 1 })
	if s := inState(t, w, Watching); s.Folders != 2 || s.Ignored != 1 {
		t.Fatalf("at first: %+v", s)
	}
	log, err := os.Create(filepath.Join(dir, "logs/open"))
	must(t, err)
	defer func() { _ = log.Close() }()
	if s := inState(t, w, Waiting); s.WaitingFor != "logs/open" {
		t.Errorf("waiting for %q", s.WaitingFor)
	}
	write(t, rules, "logs\n")
	wait(t, "for the other file", func() bool { s := w.Status(); return s.State == Waiting && s.WaitingFor == "big/half" })
	if s := w.Status(); s.Folders != 3 || s.Ignored != 1 {
		t.Errorf("with other rules: %+v", s)
	}
	must(t, half.Close())
	wait(t, "for the release", func() bool { _, ok := p.last().files["big/half"]; return ok })
	if _, ok := p.last().files["logs/y"]; ok {
		t.Error("what is left out was published")
	}
	inState(t, w, Watching)
	write(t, filepath.Join(dir, "big/er/x"), "heard of")
	p.reason("changed: big/er/x")
	must(t, os.Rename(rules, rules+".off"))
	if s := inState(t, w, Waiting); s.WaitingFor != "logs/open" || s.Folders != 4 {
		t.Errorf("without rules: %+v", s)
	}
	must(t, log.Close())
	p.published()
}

// TestHalfRules: while somebody writes the rules nothing is published by them,
// and by wrong ones neither; those of before say what is watched.
func TestHalfRules(t *testing.T) {
	dir := tree1(t)
	rules := filepath.Join(dir, publish.IgnoreFile)
	write(t, rules, "secret\n")
	write(t, filepath.Join(dir, "secret/key"), "k")
	w, p := start(t, dir, withRules)
	wait(t, "for the first release", func() bool { return len(p.all()) == 1 })
	inState(t, w, Watching)
	f, err := os.Create(rules)
	must(t, err)
	defer func() { _ = f.Close() }()
	if s := inState(t, w, Waiting); s.WaitingFor != publish.IgnoreFile || len(p.all()) != 1 {
		t.Errorf("%+v, %d releases", s, len(p.all()))
	}
	p.set(func() { p.fail = errors.New("bad pattern") })
	_, err = f.WriteString("[\n")
	must(t, errors.Join(err, f.Close()))
	inState(t, w, Held)
	write(t, filepath.Join(dir, "secret/key"), "l")
	if s := inState(t, w, Held); s.Folders != 1 {
		t.Errorf("with wrong rules: %+v", s)
	}
	p.set(func() { p.fail = nil })
	write(t, rules, "secret\n# mended\n")
	p.reason("changed: " + publish.IgnoreFile)
	for _, r := range p.all() {
		if _, ok := r.files["secret/key"]; ok {
			t.Errorf("published %v", r.files)
		}
	}
}

// TestIgnoredFoldersTakeNoWatch, however many they are and few watches there are.
func TestIgnoredFoldersTakeNoWatch(t *testing.T) {
	dir := tree1(t)
	write(t, filepath.Join(dir, publish.IgnoreFile), "node_modules\n")
	for i := range 50 {
		write(t, filepath.Join(dir, "node_modules", string(rune('a'+i)), "x"), "x")
	}
	left := 3 // the folder, the one above it, and one more
	w, p := start(t, dir, func(c *Config, p *publisher) {
		c.sys = newSystem()
		add, known := c.sys.add, map[int]bool{}
		c.sys.add = func(fd int, path string, mask uint32) (int, error) {
			wd, err := add(fd, path, mask)
			if err == nil && !known[wd] {
				if left--; left < 0 {
					return -1, unix.ENOSPC
				}
				known[wd] = true
			}
			return wd, err
		}
		withRules(c, p)
	})
	wait(t, "for the first release", func() bool { return len(p.all()) == 1 })
	write(t, filepath.Join(dir, "d/x"), "x")
	p.reason("changed: d and 1 more")
	if s := inState(t, w, Watching); s.Incomplete != "" || s.Folders != 2 {
		t.Errorf("%+v", s)
	}
}
