package store

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestMemoryOfReleases: a release whose files are those of the one before costs the
// store the list of them, and not their names and sums once more, when it is staged
// and when the folder is opened.
func TestMemoryOfReleases(t *testing.T) {
	const files, releases = 5_000, 5
	dir := t.TempDir()
	// held is what each release but the first keeps for each of its files.
	held := func(add func(serial uint64) *Store) uint64 {
		s := add(1)
		before := heap()
		for serial := uint64(2); serial <= releases; serial++ {
			s = add(serial)
		}
		after := heap()
		runtime.KeepAlive(s)
		return (max(before, after) - before) / (files * (releases - 1))
	}
	open := func() *Store {
		s, err := Open(dir, nil)
		must(t, err)
		return s
	}
	s := open()
	stage := func(serial uint64) *Store {
		text := map[string]string{}
		for i := range files {
			text[fmt.Sprintf("%s/%04d", strings.Repeat("long", 25), i)] = ""
		}
		f := makeFixture("web", "site", serial, text)
		_, err := s.Stage(f.m, f.id, f.meta)
		must(t, err)
		return s
	}
	if n := held(stage); n > 200 {
		t.Errorf("%d bytes for each file of each further release that was staged", n)
	}
	must(t, s.Close())
	s = open()
	defer func() { must(t, s.Close()) }()
	all := s.Releases()
	if len(all) != releases {
		t.Fatalf("%d releases", len(all))
	}
	before := heap()
	for _, r := range all[1:] {
		s.forget(r.ID)
	}
	clear(all)
	freed := before - min(before, heap())
	if n := freed / (files * (releases - 1)); n > 200 {
		t.Errorf("%d bytes for each file of each further release that was read", n)
	}
}

// TestMemoryOfChanges: what two releases have in common takes no memory when their
// changes are listed.
func TestMemoryOfChanges(t *testing.T) {
	const files = 10_000
	old, cur := wide(1, files).m, wide(2, files).m
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	list := changes(old, cur)
	runtime.ReadMemStats(&after)
	if n := bytes.Count(list, []byte("M\t")); n != 20 || bytes.Count(list, []byte("\n")) != 20 {
		t.Errorf("%s", list)
	}
	if n := (after.TotalAlloc - before.TotalAlloc) / files; n > 100 {
		t.Errorf("%d bytes for each file", n)
	}
}

// heap is what is in use when all garbage is gone.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
