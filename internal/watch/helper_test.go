package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSettle = 100 * time.Millisecond
	patience   = 30 * time.Second
)

// publisher publishes as the real one does: it reads the tree, refuses when the
// tree was not the same all the time, and asks for confirmation.
type publisher struct {
	*testing.T
	dir string
	log *observer.ObservedLogs

	mu       sync.Mutex
	releases []release
	fail     error                  // what Publish says
	leaveOut func(path string) bool // besides what it is told to; nil: nothing
	tries    int
	during   func()        // called while the tree is read
	slow     time.Duration // how long reading takes
}

type release struct {
	files   map[string]string
	because string
	digest  string
}

// start watches dir until the test ends.
func start(t *testing.T, dir string, change func(*Config, *publisher)) (*Watch, *publisher) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	p := &publisher{T: t, dir: dir, log: logs}
	cfg := Config{Channel: "web", Path: dir, Settle: testSettle, MaxDelay: time.Hour, Rescan: time.Hour, Publish: p.publish, Log: zap.New(core), lookEach: 50 * time.Millisecond}
	if change != nil {
		change(&cfg, p)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return w, p
}

func (p *publisher) publish(_ context.Context, r *Request) (Outcome, error) {
	p.mu.Lock()
	p.tries++
	during, fail, slow := p.during, p.fail, p.slow
	p.mu.Unlock()
	if fail != nil {
		return Outcome{}, fail
	}
	out := func(path string) bool { return r.LeaveOut(path) || p.leaveOut != nil && p.leaveOut(path) }
	before, err := list(p.dir, out)
	if err != nil {
		return Outcome{}, Later(err)
	}
	if during != nil {
		during()
	}
	time.Sleep(slow)
	after, err := list(p.dir, out)
	if err != nil || !maps.Equal(before, after) {
		return Outcome{}, Later(errors.New("the source changed"))
	}
	if err := r.Confirm(); err != nil {
		return Outcome{}, fmt.Errorf("publish: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.releases = append(p.releases, release{after, r.Because, r.Digest})
	return Outcome{Serial: uint64(len(p.releases))}, nil
}

// list reads a tree, or a file.
func list(dir string, leaveOut func(string) bool) (map[string]string, error) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case leaveOut != nil && leaveOut(rel):
			return nil
		case d.IsDir():
			files[rel+"/"] = ""
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			files[rel] = "-> " + target
			return err
		}
		b, err := os.ReadFile(path)
		files[rel] = string(b)
		return err
	})
	return files, err
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (p *publisher) all() []release {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.releases)
}

func (p *publisher) last() release {
	all := p.all()
	if len(all) == 0 {
		return release{}
	}
	return all[len(all)-1]
}

// published waits until the last release is what is there now, and returns it.
func (p *publisher) published() release {
	p.Helper()
	var files map[string]string
	wait(p.T, "for the release of what is there", func() bool {
		var err error
		files, err = list(p.dir, nil)
		return err == nil && maps.Equal(files, p.last().files)
	})
	return p.last()
}

// reason waits for a release that was published because of something.
func (p *publisher) reason(text string) release {
	p.Helper()
	wait(p.T, "for a release because of "+text+fmt.Sprint(p.all()), func() bool { return strings.Contains(p.last().because, text) })
	return p.last()
}

func (p *publisher) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *publisher) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

func inState(t *testing.T, w *Watch, s State) Status {
	t.Helper()
	wait(t, "for the state "+string(s), func() bool { return w.Status().State == s })
	return w.Status()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree1 makes a folder with a file.
func tree1(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "www")
	write(t, filepath.Join(dir, "a.html"), "a")
	return dir
}
