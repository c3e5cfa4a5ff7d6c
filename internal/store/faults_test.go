package store

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// What a fault does at the step it is set to.
type fault int

const (
	refuse   fault = iota // the step fails, later ones work
	kill                  // the process dies before the step
	powerCut              // as kill, and what was not synced is lost
)

func (f fault) String() string { return [...]string{"error", "kill -9", "power cut"}[f] }

var errInjected = errors.New("injected")

// faults is the step hook of a run: it counts steps, and strikes at one.
type faults struct {
	dir  string
	kind fault
	at   int // 0 for never

	mu    sync.Mutex
	n     int
	dead  bool
	where op
	undo  []*undo
	// dirty has the files whose bytes are not synced, by their present path.
	dirty map[string]bool
	// early has what was deleted though a power cut would bring its name back.
	early []string
}

// undo takes back a change that is not durable: one of entries of folders.
type undo struct {
	// path is what was made, removed or renamed to; like from it follows
	// renames of folders above it.
	path string
	from string // where a rename came from
	// restore puts back what was at path before.
	restore func(path string)
}

// durable says whether a sync of the folder makes the change durable.
func (u *undo) durable(folder string) bool {
	return path.Dir(u.path) == folder || u.from != "" && path.Dir(u.from) == folder
}

func (f *faults) step(o op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.dead {
		return errInjected
	}
	if f.n == f.at {
		f.where = o
		f.dead = f.kind != refuse
		return errInjected
	}
	if f.dirty != nil {
		f.record(o)
	}
	return nil
}

func (f *faults) path(p string) string { return filepath.Join(f.dir, p) }

func (f *faults) exists(p string) bool {
	_, err := os.Lstat(f.path(p))
	return err == nil
}

// record notes how to take back the operation that is about to be done.
func (f *faults) record(o op) {
	switch o.kind {
	case "make folder", "write", "make symlink", "make link":
		if !f.exists(o.path) {
			f.undo = append(f.undo, &undo{path: o.path})
		}
	case "copy":
		f.undo = append(f.undo, &undo{path: o.to})
	case "rename":
		u := &undo{path: o.to, from: o.path, restore: f.keep(o.to)}
		f.move(o.path, o.to)
		f.undo = append(f.undo, u)
	case "remove":
		if f.exists(o.path) {
			f.undo = append(f.undo, &undo{path: o.path, restore: f.keep(o.path)})
		}
	case "delete":
		if slices.ContainsFunc(f.undo, func(u *undo) bool { return u.from != "" && u.path == o.path }) {
			f.early = append(f.early, o.path)
		}
	case "sync":
		delete(f.dirty, o.path)
	case "sync folder":
		f.undo = slices.DeleteFunc(f.undo, func(u *undo) bool { return u.durable(path.Clean(o.path)) })
	case "sync file system of":
		f.undo, f.dirty = nil, map[string]bool{}
	}
}

// move lets everything that is noted follow a rename.
func (f *faults) move(from, to string) {
	follow := func(p string) string {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			return to + rest
		}
		return p
	}
	for _, u := range f.undo {
		u.path = follow(u.path)
		if u.from != "" {
			u.from = follow(u.from)
		}
	}
	moved := map[string]bool{}
	for p := range f.dirty {
		moved[follow(p)] = true
	}
	f.dirty = moved
}

// keep returns what puts back the file or symlink that is at p now.
func (f *faults) keep(p string) (restore func(string)) {
	if target, err := os.Readlink(f.path(p)); err == nil {
		return func(p string) { _ = os.Symlink(target, f.path(p)) }
	}
	if st, err := os.Lstat(f.path(p)); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	safe := filepath.Join(f.dir+".kept", fmt.Sprint(f.n))
	if err := os.Link(f.path(p), safe); err != nil {
		panic(err)
	}
	return func(p string) { _ = os.Link(safe, f.path(p)) }
}

// writes notes that a file is about to be written, and not synced, by who
// fetches a release.
func (f *faults) writes(p string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rel, err := filepath.Rel(f.dir, p)
	if err != nil || f.dirty == nil || f.dead {
		return
	}
	for d := path.Dir(rel); !f.exists(d) && d != "."; d = path.Dir(d) {
		f.record(op{kind: "make folder", path: d})
	}
	f.record(op{kind: "write", path: rel})
	f.dirty[rel] = true
}

// cut loses what was not synced: zeros where bytes were, and the folders'
// entries as they were when they were last synced.
func (f *faults) cut() {
	for p := range f.dirty {
		if st, err := os.Stat(f.path(p)); err == nil {
			_ = os.WriteFile(f.path(p), make([]byte, st.Size()), 0o600)
		}
	}
	for len(f.undo) > 0 {
		u := f.undo[len(f.undo)-1]
		f.undo = f.undo[:len(f.undo)-1]
		if u.from != "" {
			_ = os.Rename(f.path(u.path), f.path(u.from))
			f.move(u.path, u.from)
		} else if u.restore == nil {
			_ = os.RemoveAll(f.path(u.path))
		}
		if u.restore != nil {
			u.restore(u.path)
		}
	}
}
