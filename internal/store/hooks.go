package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// HookRecord is what the journal knows of the hook of a release.
type HookRecord struct {
	// Seq orders hooks by when they became due.
	Seq uint64 `json:"seq"`
	// Attempts is the number of runs that have begun.
	Attempts int `json:"attempts"`
	// Outcome is how the last run ended, in the words of the caller.
	Outcome string `json:"outcome,omitempty"`
	// Finished says that the hook is not to be run again.
	Finished   bool      `json:"finished"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// NotBefore is when the next attempt is due; zero for at once.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Previous is the release that was live before this one.
	Previous string `json:"previous,omitempty"`
}

// PendingHook is a hook that is still to be run, or that a crash of the daemon
// has interrupted.
type PendingHook struct {
	ID string
	// Attempt is the number of runs that have begun so far.
	Attempt   int
	NotBefore time.Time
	Previous  string
	// ChangedFile is as in Activation.
	ChangedFile string
}

// makeDue makes the hook of the release due in the transaction. One that has a
// record already is left alone, except that with again a finished one begins
// anew.
func makeDue(t tx, id, previous string, again bool) error {
	old, known, err := get[HookRecord](t, bucketHooks, id)
	if err != nil || known && !(again && old.Finished) {
		return err
	}
	seq, err := t.Bucket(bucketHooks).NextSequence()
	if err != nil {
		return err
	}
	return put(t, bucketHooks, id, HookRecord{Seq: seq, Previous: previous})
}

// HookDue makes the hook of a release due outside an activation, also when it
// has run before.
func (s *Store) HookDue(id string) error {
	r, err := s.Release(id)
	if err != nil {
		return fmt.Errorf("hook: %w", err)
	}
	return s.update("hook of release "+id, func(t tx) error {
		rec, _, err := get[channelRec](t, bucketChannels, r.Manifest.Channel)
		if err != nil {
			return err
		}
		previous := ""
		if rec.Live == id {
			previous = rec.Previous
		}
		return makeDue(t, id, previous, true)
	})
}

// HookStart notes that a run of the hook begins and returns its number, which
// is above 1 when it is run again. It is called before the hook is started, so
// that a crash during the run shows. ErrNotDue says that the hook must not run.
func (s *Store) HookStart(id string) (attempt int, err error) {
	err = s.changeHook("start", id, func(rec *HookRecord) {
		rec.Attempts++
		rec.NotBefore = time.Time{}
		attempt = rec.Attempts
	})
	return attempt, err
}

// HookLater notes that the hook wants to be run again, and when: it stays due,
// also over a restart.
func (s *Store) HookLater(id, outcome string, notBefore time.Time) error {
	return s.changeHook("retry", id, func(rec *HookRecord) {
		rec.Outcome, rec.NotBefore = outcome, notBefore.UTC()
	})
}

// HookDone notes how the last run of the hook ended. It is not run again.
func (s *Store) HookDone(id, outcome string) error {
	return s.changeHook("end", id, func(rec *HookRecord) {
		rec.Outcome, rec.Finished, rec.FinishedAt = outcome, true, time.Now().UTC().Truncate(time.Second)
	})
}

// changeHook changes the record of a hook that is due.
func (s *Store) changeHook(what, id string, fn func(*HookRecord)) error {
	return s.update(what+" of the hook of release "+id, func(t tx) error {
		rec, ok, err := get[HookRecord](t, bucketHooks, id)
		if err != nil {
			return err
		}
		if !ok || rec.Finished {
			return fmt.Errorf("release %s: %w", id, ErrNotDue)
		}
		fn(&rec)
		return put(t, bucketHooks, id, rec)
	})
}

// Hooks returns what is known of the hook of a release; an empty record when it
// was never due.
func (s *Store) Hooks(id string) HookRecord {
	var rec HookRecord
	err := s.view(func(t tx) (err error) {
		rec, _, err = get[HookRecord](t, bucketHooks, id)
		return err
	})
	if err != nil {
		s.log.Error("cannot read the journal of hooks", zap.String("release", id), zap.Error(err))
	}
	return rec
}

// PendingHooks returns the hooks that are due and not done, in the order in
// which they became due.
func (s *Store) PendingHooks() []PendingHook {
	type item struct {
		seq uint64
		PendingHook
	}
	var items []item
	err := s.view(func(t tx) error {
		for _, id := range keys(t, bucketHooks) {
			rec, _, err := get[HookRecord](t, bucketHooks, id)
			if err != nil {
				return err
			}
			if rec.Finished {
				continue
			}
			p := PendingHook{ID: id, Attempt: rec.Attempts, NotBefore: rec.NotBefore, Previous: rec.Previous, ChangedFile: s.abs(changedDir + "/" + id)}
			items = append(items, item{rec.Seq, p})
		}
		return nil
	})
	if err != nil {
		s.log.Error("cannot read the journal of hooks", zap.Error(err))
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.seq, b.seq) })
	out := make([]PendingHook, len(items))
	for i, it := range items {
		out[i] = it.PendingHook
	}
	return out
}
