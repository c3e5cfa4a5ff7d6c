package store

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func TestHookJournal(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	one, two, quiet := tree(1, "one"), iso(1, "two"), makeFixture("q", "q", 1, map[string]string{"q": "q"})
	publish(t, s, one, WithHook())
	publish(t, s, two, WithHook())
	publish(t, s, quiet)
	for _, again := range []bool{false, true} {
		act, err := s.Activate(t.Context(), one.id, WithHook())
		check(t, err)
		if p := s.PendingHooks(); !act.Already || len(p) != 2 || p[0].ID != one.id || p[1].ID != two.id || p[0].Attempt != 0 {
			t.Fatalf("after restart %v: pending %+v", again, p)
		}
		check(t, s.Close())
		s = mustOpen(t, dir)
	}
	if _, err := s.HookStart(quiet.id); !errors.Is(err, ErrNotDue) {
		t.Errorf("a hook that nobody wanted may start: %v", err)
	}
	if n, err := s.HookStart(one.id); n != 1 || err != nil {
		t.Errorf("attempt %d, %v", n, err)
	}
	check(t, s.Close()) // a crash while it runs
	s = mustOpen(t, dir)
	if p := s.PendingHooks(); len(p) != 2 || p[0].Attempt != 1 {
		t.Errorf("pending %+v", p)
	}
	if n, err := s.HookStart(one.id); n != 2 || err != nil {
		t.Errorf("attempt %d, %v", n, err)
	}
	later := time.Unix(2_000_000_000, 0)
	check(t, s.HookLater(one.id, "exit code 75", later))
	if p := s.PendingHooks(); !p[0].NotBefore.Equal(later) || s.Hooks(one.id).Outcome != "exit code 75" {
		t.Errorf("pending %+v", p)
	}
	if n, err := s.HookStart(one.id); n != 3 || err != nil {
		t.Errorf("attempt %d, %v", n, err)
	}
	check(t, s.HookDone(one.id, "ok"))
	if r := s.Hooks(one.id); r.Attempts != 3 || !r.Finished || r.Outcome != "ok" || r.FinishedAt.IsZero() {
		t.Errorf("record %+v", r)
	}
	if _, err := s.HookStart(one.id); !errors.Is(err, ErrNotDue) {
		t.Errorf("a hook that is done may start: %v", err)
	}
	if err := s.HookDone(one.id, "ok"); !errors.Is(err, ErrNotDue) {
		t.Errorf("a hook that is done is done again: %v", err)
	}
	check(t, s.HookDue(one.id)) // the operator wants it
	if p := s.PendingHooks(); len(p) != 2 || p[1].ID != one.id || p[1].Attempt != 0 {
		t.Errorf("pending %+v", p)
	}
	if err := s.HookDue(strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hook of an unknown release: %v", err)
	}
}

func TestPointersAndSerials(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if _, _, _, err := s.Pointer("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	one, two, other := tree(1, "one"), tree(2, "two"), tree(2, "other")
	set := func(f *fixture) error {
		data, sig, p := f.pointer()
		return s.SetPointer("web", data, sig, p)
	}
	check(t, set(two))
	check(t, set(two)) // signed again, say
	for _, f := range []*fixture{one, other} {
		if err := set(f); !errors.Is(err, ErrSerial) {
			t.Errorf("serial %d: %v", f.m.Serial, err)
		}
	}
	data, sig, p := two.pointer()
	if err := s.SetPointer("other", data, sig, p); err == nil {
		t.Error("pointer of another channel was accepted")
	}
	check(t, s.RaiseSerial("web", 5))
	check(t, s.RaiseSerial("web", 3))
	if n := s.HighestSerial("web"); n != 5 {
		t.Errorf("highest serial %d", n)
	}
	if err := set(tree(4, "four")); !errors.Is(err, ErrSerial) {
		t.Errorf("error %v", err)
	}
	for range 2 {
		gotData, gotSig, gotP, err := s.Pointer("web")
		if err != nil || string(gotData) != string(data) || string(gotSig) != string(sig) || *gotP != *p {
			t.Errorf("pointer %+v, %v", gotP, err)
		}
		b, err := os.ReadFile(filepath.Join(dir, ".distd/channels/web/latest.json"))
		if err != nil || string(b) != string(data) {
			t.Errorf("file %q, %v", b, err)
		}
		// The second time: after a restart that found the copies damaged.
		check(t, s.Close())
		check(t, os.WriteFile(filepath.Join(dir, ".distd/channels/web/latest.json"), []byte("{"), 0o644))
		check(t, os.Remove(filepath.Join(dir, ".distd/channels/web/latest.json.minisig")))
		s = mustOpen(t, dir)
	}
	if c := s.Channels(); len(c) != 1 || c[0] != "web" {
		t.Errorf("channels %v", c)
	}
	if err := s.RaiseSerial("../x", 1); err == nil {
		t.Error("a bad channel name was accepted")
	}
}

func TestPinnedKeys(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if _, ok := s.PinnedKey("web"); ok {
		t.Error("a key is pinned")
	}
	check(t, s.PinKey("web", "A"))
	check(t, s.PinKey("web", "A"))
	if err := s.PinKey("web", "B"); !errors.Is(err, ErrPinned) {
		t.Errorf("error %v", err)
	}
	if k, ok := s.PinnedKey("web"); !ok || k != "A" {
		t.Errorf("key %q", k)
	}
	if err := s.PinKey("web", ""); err == nil {
		t.Error("no key was pinned")
	}
	if c := s.Channels(); len(c) != 0 {
		t.Errorf("a channel without a pointer is listed: %v", c)
	}
}

func TestNamed(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if _, ok := s.Named("site"); ok {
		t.Error("found")
	}
	one, two := tree(1, "one"), tree(2, "two")
	publish(t, s, one)
	complete(t, s, two) // no pointer yet: not published
	if r, ok := s.Named("site"); !ok || r.ID != one.id {
		t.Errorf("named %+v", r)
	}
	data, sig, p := two.pointer()
	check(t, s.SetPointer("web", data, sig, p))
	if r, ok := s.Named("site"); !ok || r.ID != two.id {
		t.Errorf("named %+v", r)
	}
}

func TestLostStateFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	tr, f := tree(7, "x"), iso(9, "y")
	publish(t, s, tr)
	publish(t, s, f)
	check(t, s.Close())
	check(t, os.Remove(filepath.Join(dir, stateFile)))
	s = mustOpen(t, dir)
	if n := s.HighestSerial("web"); n != 7 {
		t.Errorf("highest serial %d", n)
	}
	for _, f := range []*fixture{tr, f} { // names are known again by what they lead to
		act, err := s.Activate(t.Context(), f.id)
		if err != nil || act.Already {
			t.Errorf("activation %+v, %v", act, err)
		}
		wantLive(t, s, f)
	}
}

func TestDamagedStateFile(t *testing.T) {
	dir := t.TempDir()
	check(t, mustOpen(t, dir).Close())
	check(t, os.WriteFile(filepath.Join(dir, stateFile), make([]byte, 32<<10), 0o600))
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("error %v", err)
	}
}

func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	check(t, s.db.Update(func(t *bolt.Tx) error {
		return t.Bucket(bucketMeta).Put([]byte("schema"), binary.BigEndian.AppendUint64(nil, schema+1))
	}))
	check(t, s.Close())
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("error %v", err)
	}
}

func TestPrune(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	var all []*fixture
	for i := range uint64(6) {
		f := tree(i+1, strings.Repeat("x", int(i)+1))
		all = append(all, f)
		publish(t, s, f)
	}
	check(t, s.HookDue(all[1].id))
	staged, next := tree(3, "staged"), tree(9, "next")
	for _, f := range []*fixture{staged, next} {
		_, err := s.Stage(f.m, f.id, f.meta)
		check(t, err)
	}
	busy := func(id string) bool { return id == all[0].id }
	removed, err := s.Prune(t.Context(), 3, busy)
	check(t, err)
	left := map[string]bool{}
	for _, r := range s.Releases() {
		left[r.ID] = true
	}
	for i, want := range []bool{true, true, false, true, true, true} { // busy, hook due, too old, the newest 3
		if left[all[i].id] != want {
			t.Errorf("release %d is left: %v, want %v", i+1, left[all[i].id], want)
		}
	}
	if left[staged.id] || !left[next.id] || len(removed) != 2 {
		t.Errorf("staged %v, next %v, removed %v", left[staged.id], left[next.id], removed)
	}
	check(t, s.HookDone(all[1].id, "superseded"))
	// Down to the least: live, previous, and the next one on its way.
	_, err = s.Rollback(t.Context(), "web")
	check(t, err)
	if _, err = s.Prune(t.Context(), 0, nil); err != nil {
		t.Error(err)
	}
	if n := len(s.Releases()); n != 3 {
		t.Errorf("%d releases are left", n)
	}
	wantLive(t, s, all[4])
	if l := list(t, filepath.Join(s.Dir(), changedDir)); len(l) != 2 {
		t.Errorf("lists of changes: %v", l)
	}
	if r := s.Hooks(all[1].id); r.Finished {
		t.Errorf("the hook's record of a removed release is left: %+v", r)
	}
}
