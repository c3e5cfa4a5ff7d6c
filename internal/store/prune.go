package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

// Prune removes complete releases beyond the newest keep of each channel, and
// staged ones that the channel's pointer has left behind. Never removed are the
// live and the previous release, the one that the pointer names, those with a
// hook that is still due, and those that busy (which may be nil) says are in
// use. The live name of a removed release goes with it.
//
// It returns the IDs of what was removed, also beside an error.
func (s *Store) Prune(ctx context.Context, keep int, busy func(id string) bool) (removed []string, err error) {
	s.activity.Lock()
	defer s.activity.Unlock()
	if busy == nil {
		busy = func(string) bool { return false }
	}
	byChannel := map[string][]*Release{}
	for _, r := range s.Releases() {
		byChannel[r.Manifest.Channel] = append(byChannel[r.Manifest.Channel], r)
	}
	for channel, all := range byChannel {
		old, cerr := s.expendable(channel, all, keep)
		if cerr != nil {
			return removed, cerr
		}
		for _, r := range old {
			if cerr := ctx.Err(); cerr != nil {
				return removed, cerr
			}
			if busy(r.ID) {
				continue
			}
			if rerr := s.remove(r); rerr != nil {
				err = errors.Join(err, fmt.Errorf("remove release %s of channel %s: %w", r.ID, channel, rerr))
				continue
			}
			removed = append(removed, r.ID)
		}
	}
	return removed, errors.Join(err, s.sweep())
}

// expendable returns the releases of a channel, sorted from old to new, that
// need not be kept.
func (s *Store) expendable(channel string, all []*Release, keep int) ([]*Release, error) {
	rec, err := s.channel(channel)
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
	var out []*Release
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
		case kept < keep:
			kept++
		default:
			out = append(out, r)
		}
	}
	return out, nil
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
	for _, f := range []func(func(string) bool) error{s.sweepReleases, s.sweepChanged, s.sweepRepair, s.sweepHooks} {
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
