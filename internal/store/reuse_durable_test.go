package store

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestLinkedFilesAreDurable looks at which files a commit syncs: those that are not
// files of a complete release, and all of them after a restart or where a file
// was replaced.
func TestLinkedFilesAreDurable(t *testing.T) {
	for _, c := range []struct {
		name                  string
		restart, settle, told bool
		want                  []string
	}{
		{name: "linked", want: []string{"d/new", "two"}},
		{name: "after a restart", restart: true, want: []string{"a", "d/b", "d/new", "two"}},
		{name: "told", restart: true, told: true, want: []string{"d/b", "d/new", "two"}},
		{name: "replaced", settle: true, want: []string{"a", "d/new", "two"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fastDir(t)
			s := mustOpen(t, dir)
			complete(t, s, makeFixture("web", "site", 1, map[string]string{"a": "one", "two": "two", "d/b": "three"}))
			next := makeFixture("web", "site", 2, map[string]string{"a": "one", "two": "changed", "d/b": "three", "d/new": "four"})
			r := stage(t, s, next)
			got, err := s.Reuse(t.Context(), next.id, ReuseLink, all)
			check(t, err)
			if names := reused(t, next, got); !slices.Equal(names, []string{"a", "d/b"}) || !slices.Equal(got.Durable, got.Files) {
				t.Errorf("took %v, of which %v are durable", names, got.Durable)
			}
			rest := *next
			rest.files = map[string]string{"two": "changed", "d/new": "four"}
			check(t, rest.fetch(r))
			if c.settle {
				file := filepath.Join(r.ContentRoot(), "site/a")
				check(t, os.Remove(file))
				check(t, os.WriteFile(file, []byte("one"), 0o600))
			}
			check(t, s.Close())
			var mu sync.Mutex
			var synced []string
			record := func(o op) error {
				mu.Lock()
				defer mu.Unlock()
				if _, p, ok := strings.Cut(o.path, contentDir+"/site/"); ok && o.kind == "sync" {
					synced = append(synced, p)
				}
				return nil
			}
			again, err := open(dir, options{step: record})
			check(t, err)
			t.Cleanup(func() { _ = again.Close() })
			if !c.restart {
				again.linked = s.linked
			}
			if c.told {
				st, err := os.Stat(filepath.Join(r.ContentRoot(), "site/a"))
				check(t, err)
				inodes := make([]uint64, len(next.m.Files))
				inodes[next.m.FileIndex("a")] = identOf(st).Inode
				again.NoteLinked(next.id, inodes)
			}
			_, err = again.Commit(t.Context(), next.id)
			check(t, err)
			slices.Sort(synced)
			if !slices.Equal(synced, c.want) {
				t.Errorf("synced %v, want %v", synced, c.want)
			}
			if len(again.linked) > 0 && !c.restart {
				t.Error("what was linked is kept for a complete release")
			}
			wantSound(t, again, next.id)
		})
	}
}
