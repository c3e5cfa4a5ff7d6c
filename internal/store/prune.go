package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

// Rules say which releases of a channel stay. They hold for each channel by
// itself; zero Age and Bytes are no limit.
type Rules struct {
	Keep  int           // so many of the newest
	Age   time.Duration // since they were made
	Bytes int64         // that all of the channel take on the disk, each inode counted once
	Now   time.Time     // that Age is counted from
}

// Prune is PruneBy with the number of releases alone.
func (s *Store) Prune(ctx context.Context, keep int, busy func(id string) bool) (removed []string, err error) {
	return s.PruneBy(ctx, Rules{Keep: keep}, busy)
}

// PruneBy removes complete releases that the rules do not keep, and staged ones
// that the channel's pointer has left behind. Never removed are the
// live and the previous release, the one that the pointer names, those with a
// hook that is still due, and those that busy (which may be nil) says are in
// use. Where none is live, as on a master, Age and Bytes leave the two newest.
// The live name of a removed release goes with it.
//
// It returns the IDs of what was removed, also beside an error.
func (s *Store) PruneBy(ctx context.Context, rules Rules, busy func(id string) bool) (removed []string, err error) {
	s.activity.Lock()
	defer s.activity.Unlock()
	for _, all := range s.byChannel() {
		old, cerr := s.expendable(all, rules)
		if cerr != nil {
			return removed, errors.Join(err, cerr)
		}
		gone, rerr := s.removeAll(ctx, old, busy, nil)
		removed, err = append(removed, gone...), errors.Join(err, rerr)
		if ctx.Err() != nil {
			return removed, err
		}
	}
	return removed, errors.Join(err, s.sweep())
}

// Free removes releases that PruneBy may remove by any rules, the oldest of all
// channels first, until enough is told that so many bytes are free in addition
// to what was before and returns true.
func (s *Store) Free(ctx context.Context, enough func(freed int64) bool, busy func(id string) bool) (removed []string, err error) {
	s.activity.Lock()
	defer s.activity.Unlock()
	var old []*Release
	for _, all := range s.byChannel() {
		some, err := s.expendable(all, Rules{Keep: math.MaxInt, Bytes: -1})
		if err != nil {
			return nil, err
		}
		old = append(old, some...)
	}
	slices.SortStableFunc(old, func(a, b *Release) int { return a.Manifest.Created.Compare(b.Manifest.Created) })
	if removed, err = s.removeAll(ctx, old, busy, enough); err != nil || len(removed) == 0 {
		return removed, err
	}
	return removed, s.sweep()
}

func (s *Store) byChannel() map[string][]*Release {
	out := map[string][]*Release{}
	for _, r := range s.Releases() {
		out[r.Manifest.Channel] = append(out[r.Manifest.Channel], r)
	}
	return out
}

// removeAll removes releases that are not busy, until enough (which may be nil)
// says that it will do.
func (s *Store) removeAll(ctx context.Context, old []*Release, busy func(id string) bool, enough func(freed int64) bool) (removed []string, err error) {
	var u *usage
	if enough != nil && len(old) > 0 {
		u = s.measure(s.Releases())
	}
	var freed int64
	for _, r := range old {
		if cerr := ctx.Err(); cerr != nil {
			return removed, errors.Join(err, cerr)
		}
		if enough != nil && enough(freed) {
			break
		}
		if busy != nil && busy(r.ID) {
			continue
		}
		if rerr := s.remove(r); rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove release %s of channel %s: %w", r.ID, r.Manifest.Channel, rerr))
			continue
		}
		if u != nil {
			freed += u.freed(r.ID)
			u.remove(r.ID)
		}
		removed = append(removed, r.ID)
	}
	return removed, err
}

// expendable returns the releases of a channel, sorted from old to new as they
// are given, that need not be kept.
func (s *Store) expendable(all []*Release, rules Rules) ([]*Release, error) {
	rec, err := s.channel(all[0].Manifest.Channel)
	if err != nil {
		return nil, err
	}
	var top uint64
	if p, err := parsePointer(rec.Pointer); err == nil {
		top = p.Serial
	}
	protected := []string{rec.Live, rec.Previous, rec.Newest}
	for _, p := range s.PendingHooks() {
		protected = append(protected, p.ID)
	}
	var out, may []*Release
	kept := 0
	for _, r := range slices.Backward(all) {
		serial := r.Manifest.Serial
		// Left behind by a publish that was interrupted and done again.
		orphan := serial == top && r.ID != rec.Newest
		switch {
		case serial > top:
			// On its way to being published.
		case slices.Contains(protected, r.ID):
			kept++
		case !r.Complete, orphan:
			out = append(out, r)
		case kept >= rules.Keep:
			out = append(out, r)
		case rec.Live == "" && kept < 2: // what a rollback would go back to
			kept++
		case rules.Age > 0 && rules.Now.Sub(r.Manifest.Created) > rules.Age:
			out = append(out, r)
		default:
			kept++
			may = append(may, r)
		}
	}
	out = append(out, s.tooMuch(all, out, may, rules.Bytes)...)
	slices.SortFunc(out, compareAge)
	return out, nil
}

// tooMuch returns those of may, which are sorted from new to old, that have to go
// for all others but those in out to take no more than limit bytes. A negative
// limit is nothing at all.
func (s *Store) tooMuch(all, out, may []*Release, limit int64) (gone []*Release) {
	if limit < 0 {
		return may
	}
	if limit == 0 || len(may) == 0 {
		return nil
	}
	u := s.measure(all)
	for _, r := range out {
		u.remove(r.ID)
	}
	total := u.total()
	for _, r := range slices.Backward(may) {
		if total <= limit {
			break
		}
		total -= u.remove(r.ID)
		gone = append(gone, r)
	}
	return gone
}

// remove removes a release. Its folder goes first in one step, so that a crash
// leaves either the release or nothing that is taken for one.
func (s *Store) remove(r *Release) error {
	defer s.ids.lock(r.ID)()
	if err := s.removeLive(r); err != nil {
		return err
	}
	s.forget(r.ID)
	if err := s.discard(r.path); err != nil {
		if _, lerr := s.root.Lstat(r.path); lerr == nil {
			s.remember(r)
		}
		return err
	}
	return nil
}

// removeLive removes the live name of a release that is about to go: releases
// of one channel may have different names, and each stays until then.
func (s *Store) removeLive(r *Release) error {
	name := r.Manifest.Name
	rec, err := s.nameRec(name)
	if err != nil || rec.ID != r.ID {
		return err
	}
	shown, err := s.shows(name, r)
	if err != nil {
		return err
	}
	if shown {
		if err := s.fs.remove(name); err != nil {
			return err
		}
		if err := s.fs.syncDir("."); err != nil {
			return err
		}
	}
	return s.update("end of name "+name, func(t tx) error { return drop(t, bucketNames, name) })
}

// sweep removes what belongs to releases that are gone, and what a crash in the
// middle of a removal left.
func (s *Store) sweep() error {
	// Before the content of a removed release is deleted its removal is
	// durable: otherwise a power cut could bring it back with parts missing.
	if err := s.syncReleases(); err != nil {
		return err
	}
	if err := s.clean(trashDir); err != nil {
		return err
	}
	inUse, err := s.namedByChannels()
	if err != nil {
		return err
	}
	gone := func(id string) bool {
		_, err := s.Release(id)
		return err != nil && !inUse[id]
	}
	for _, f := range []func(func(string) bool) error{s.sweepReleases, s.sweepChanged, s.sweepRepair, s.sweepHooks, s.sweepSpares} {
		if err := f(gone); err != nil {
			return err
		}
	}
	return nil
}

// namedByChannels returns the IDs that channels refer to.
func (s *Store) namedByChannels() (map[string]bool, error) {
	ids := map[string]bool{}
	err := s.view(func(t tx) error {
		for _, c := range keys(t, bucketChannels) {
			rec, _, err := get[channelRec](t, bucketChannels, c)
			if err != nil {
				return err
			}
			ids[rec.Live], ids[rec.Previous], ids[rec.Newest] = true, true, true
		}
		return nil
	})
	return ids, err
}

// sweepReleases removes damaged releases, which were not loaded.
func (s *Store) sweepReleases(gone func(id string) bool) error {
	entries, err := readDir(s.root, releasesDir)
	if err != nil {
		return explain("read folder", s.abs(releasesDir), err)
	}
	for _, e := range entries {
		if id := e.Name(); manifest.ValidID(id) && gone(id) {
			if err := s.sweepRelease(id, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) sweepRelease(id string, gone func(id string) bool) error {
	defer s.ids.lock(id)()
	name := releasesDir + "/" + id
	if _, err := s.root.Lstat(name); err != nil || !gone(id) { // it was repaired meanwhile
		return nil
	}
	s.log.Warn("removing a damaged release", zap.String("path", s.abs(name)))
	return s.discard(name)
}

func (s *Store) sweepChanged(gone func(id string) bool) error {
	entries, err := readDir(s.root, changedDir)
	if err != nil {
		return explain("read folder", s.abs(changedDir), err)
	}
	for _, e := range entries {
		if gone(e.Name()) {
			if err := s.fs.remove(changedDir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepRepair removes pieces that were fetched for releases that are gone.
func (s *Store) sweepRepair(gone func(id string) bool) error {
	entries, err := readDir(s.root, repairDir)
	if err != nil {
		return explain("read folder", s.abs(repairDir), err)
	}
	for _, e := range entries {
		if gone(e.Name()) {
			if err := s.fs.purge(repairDir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) sweepHooks(gone func(id string) bool) error {
	var old []string
	err := s.view(func(t tx) error {
		for _, id := range keys(t, bucketHooks) {
			if gone(id) {
				old = append(old, id)
			}
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return s.update("end of old hooks", func(t tx) error {
		for _, id := range old {
			if err := drop(t, bucketHooks, id); err != nil {
				return err
			}
		}
		return nil
	})
}
