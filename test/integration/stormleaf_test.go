package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stormLeaf is a leaf that is killed again and again while its live tree is read.
type stormLeaf struct {
	*member
	storm   *storm
	hookLog string

	// What the reader has seen; valid when it has ended.
	looks, void int
	seen        []string // versions, in order
}

// hook makes a program that notes its begin, with the version that is live then,
// and its end.
func (l *stormLeaf) hook() string {
	path := filepath.Join(filepath.Dir(l.hookLog), "hook.sh")
	script := fmt.Sprintf(`#!/bin/sh
echo "begin $DISTD_SERIAL $DISTD_ATTEMPT $(cat "$DISTD_DIR/%s")" >> '%[2]s'
sleep 0.0$((DISTD_SERIAL %% 10))
echo "end $DISTD_SERIAL $DISTD_ATTEMPT" >> '%[2]s'
`, stormMarker, l.hookLog)
	must(l.storm.t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// crash kills the leaf, notes that among the runs of its hook, and starts it again.
func (l *stormLeaf) crash() {
	l.kill9()
	// The hook of a killed leaf is killed too.
	f, err := os.OpenFile(l.hookLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(l.t, err)
	_, err = f.WriteString("crash\n")
	must(l.t, err)
	must(l.t, f.Close())
	l.restart()
}

func (l *stormLeaf) lines() []string {
	b, _ := os.ReadFile(l.hookLog)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// read looks at the live tree until it shall end.
func (l *stormLeaf) read(quit chan struct{}) {
	t := l.storm.t
	for {
		select {
		case <-quit:
			return
		case <-time.After(20 * time.Millisecond):
		}
		release, err := filepath.EvalSymlinks(filepath.Join(l.dir, "site"))
		if err != nil {
			continue // nothing is live yet
		}
		got, err := snap(release)
		if _, serr := os.Stat(release); serr != nil {
			l.void++ // others came live meanwhile and this one was removed
			continue
		}
		l.looks++
		v := got.version()
		l.storm.mu.Lock()
		want := l.storm.known[v]
		l.storm.mu.Unlock()
		if err != nil || want == nil {
			t.Errorf("%s shows version %q, which was not published, %v", release, v, err) //nolint:errorlint // it may be nil
			return
		}
		if d := got.differs(want); d != "" {
			t.Errorf("%s is not version %s as it was published: %s", release, v, d)
			return
		}
		if n := len(l.seen); n == 0 || l.seen[n-1] != v {
			l.seen = append(l.seen, v)
		}
	}
}

// checkHooks compares the runs of the hook with what was live.
func (l *stormLeaf) checkHooks() {
	t := l.t
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Errorf("%q is no number in %q", s, l.lines())
		}
		return n
	}
	var serial, attempt int // of the last run
	var ended, crashed bool
	var ran []string
	for _, line := range l.lines() {
		f := strings.Fields(line)
		switch {
		case f[0] == "crash":
			crashed = true
		case f[0] == "end":
			if ended = true; number(f[1]) != serial || number(f[2]) != attempt {
				t.Errorf("hook: %q after the begin of serial %d, attempt %d", line, serial, attempt)
			}
		case len(f) != 4 || f[3] != f[1]:
			t.Errorf("hook: %q: another version is live, or none", line)
		default:
			s, a := number(f[1]), number(f[2])
			again := s == serial && crashed && a > attempt
			if !again && (s <= serial || a != 1 && !crashed || !ended && serial > 0) {
				t.Errorf("hook: %q after serial %d, attempt %d (ended: %v; crashed after it: %v)", line, serial, attempt, ended, crashed)
			}
			if !again {
				ran = append(ran, f[1])
			}
			serial, attempt, ended, crashed = s, a, false, false
		}
	}
	if !ended {
		t.Errorf("hook: the last run of serial %d did not end", serial)
	}
	for _, v := range l.seen {
		if !slices.Contains(ran, v) {
			t.Errorf("version %s was live, but its hook has not run", v)
		}
	}
	if !slices.IsSortedFunc(l.seen, func(a, b string) int { return number(a) - number(b) }) {
		t.Errorf("the live tree went back: %q", l.seen)
	}
}

// tidy checks that nothing but the kept releases is in a member's folder.
func (m *member) tidy() {
	own := func(p ...string) string { return filepath.Join(append([]string{m.dir, ".distd"}, p...)...) }
	list := func(p ...string) (out []string) {
		entries, err := os.ReadDir(own(p...))
		if err != nil && !os.IsNotExist(err) {
			m.t.Error(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	s, err := m.status()
	must(m.t, err)
	var kept []string
	for _, r := range s.Releases {
		kept = append(kept, r.ID)
	}
	slices.Sort(kept)
	spare := "spare-" + s.Channels[0].Live // the tree that the next release begins with
	await(m.t, 10*time.Second, "the "+m.role+" has its temporary folders empty", func() bool {
		return len(list("staging"))+len(list("trash"))+len(list("repair"))+len(list("tmp", "publish")) == 0 &&
			!slices.ContainsFunc(list("tmp"), func(n string) bool { return n != "publish" && n != spare })
	})
	if got := list("releases"); !slices.Equal(got, kept) || len(kept) > 3 {
		m.t.Errorf("%s: the releases on the disk are %q, those that are kept %q", m.role, got, kept)
	}
	for _, id := range list("changed") {
		if !slices.Contains(kept, id) {
			m.t.Errorf("%s: changed/%s is of no release", m.role, id)
		}
	}
	for _, id := range kept {
		var packs []string
		for _, d := range deltasOf(m.t, m, id) {
			packs = append(packs, d.Base, d.Base+".torrent")
		}
		for _, name := range list("releases", id, "delta") {
			if !slices.Contains(packs, name) {
				m.t.Errorf("%s: delta/%s of release %s is none of its packs", m.role, name, id)
			}
		}
	}
}

// tryPublish is publish for goroutines that must not end the test.
func tryPublish(m *member, path string) (p published, err error) {
	cmd := exec.Command(bin, "publish", "-json", "-dir="+m.dir, "-channel=web", path)
	cmd.Env = append(os.Environ(), "DISTD_CONFIG=/dev/null")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return p, json.Unmarshal(out, &p)
}
