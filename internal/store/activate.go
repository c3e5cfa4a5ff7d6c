package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

// Activation says what is live after Activate or Rollback.
type Activation struct {
	ID       string `json:"id"`
	Channel  string `json:"channel"`
	Serial   uint64 `json:"serial"`
	Previous string `json:"previous"` // ID of the release that was live before, or ""
	LivePath string `json:"live_path"`
	// ChangedFile lists what differs from Previous: lines of a letter (A for
	// added, M for changed, D for deleted), a tab and a path; paths are
	// relative to the live folder, those of folders end with a slash.
	ChangedFile string `json:"changed_file"`
	// Already says that the release was live before the call.
	Already bool `json:"already"`
}

// activateOptions is what an activation does besides switching.
type activateOptions struct {
	hook, again bool
	withdrawn   string // the release that is taken out of use by a rollback
}

// ActivateOption changes what Activate does.
type ActivateOption func(*activateOptions)

// WithHook makes the hook due for the release in the same transaction that
// records it as live, unless it was due or has run for this release before.
func WithHook() ActivateOption { return func(o *activateOptions) { o.hook = true } }

// WithHookAgain is WithHook also for a release for which the hook has run
// before, as after a rollback.
func WithHookAgain() ActivateOption {
	return func(o *activateOptions) { o.hook, o.again = true, true }
}

// Activate makes a complete release the live one of its channel: DIR/NAME is
// switched to it in one step. A NAME that distd did not make or that belongs to
// another channel is ErrForeign. After a crash at any point either the old
// release is live or the new one is, and a hook that is wanted is due exactly
// if the new one is.
//
// When ctx ends before the switch has begun, nothing has changed.
func (s *Store) Activate(ctx context.Context, id string, opts ...ActivateOption) (*Activation, error) {
	var o activateOptions
	for _, f := range opts {
		f(&o)
	}
	s.activity.Lock()
	defer s.activity.Unlock()
	return s.activate(ctx, id, o)
}

// Rollback makes the channel's previous release live again. The release that
// was live becomes the previous one and is remembered as withdrawn.
func (s *Store) Rollback(ctx context.Context, channel string, opts ...ActivateOption) (*Activation, error) {
	var o activateOptions
	for _, f := range opts {
		f(&o)
	}
	s.activity.Lock()
	defer s.activity.Unlock()
	rec, err := s.channel(channel)
	if err != nil {
		return nil, err
	}
	if rec.Previous == "" {
		return nil, fmt.Errorf("roll back channel %s: %w", channel, ErrNoPrevious)
	}
	o.withdrawn = rec.Live
	return s.activate(ctx, rec.Previous, o)
}

// Live returns the ID of the channel's live release.
func (s *Store) Live(channel string) (string, bool) {
	id := s.known(channel).Live
	return id, id != ""
}

// Previous returns the ID of the release that Rollback would go back to.
func (s *Store) Previous(channel string) (string, bool) {
	id := s.known(channel).Previous
	return id, id != ""
}

// Withdraw notes that a release was taken out of use otherwise than by
// Rollback: on a master, where none is live, by publishing another one.
func (s *Store) Withdraw(channel, id string) error {
	return s.changeChannel("withdrawal", channel, func(rec *channelRec) error { rec.Withdrawn = id; return nil })
}

// Withdrawn returns the ID of the release that the last Rollback took out of
// use, until another release is activated. It should not come back by itself.
func (s *Store) Withdrawn(channel string) (string, bool) {
	id := s.known(channel).Withdrawn
	return id, id != ""
}

func (s *Store) activate(ctx context.Context, id string, o activateOptions) (*Activation, error) {
	defer s.ids.lock(id)()
	r, err := s.Release(id)
	if err != nil {
		return nil, fmt.Errorf("activate: %w", err)
	}
	m := r.Manifest
	fail := func(err error) error {
		return fmt.Errorf("activate release %s of channel %s as %s: %w", id, m.Channel, s.abs(m.Name), err)
	}
	if !r.Complete {
		return nil, fail(ErrIncomplete)
	}
	if _, err := s.settle(m.Name); err != nil {
		return nil, fail(err)
	}
	rec, err := s.channel(m.Channel)
	if err != nil {
		return nil, fail(err)
	}
	act := &Activation{ID: id, Channel: m.Channel, Serial: m.Serial, Previous: rec.Live, LivePath: s.abs(m.Name), ChangedFile: s.abs(changedDir + "/" + id)}
	if rec.Live == id {
		act.Previous, act.Already = rec.Previous, true
		ok, err := s.shows(m.Name, r)
		if err != nil {
			return nil, fail(err)
		}
		if ok {
			return act, nil
		}
		o.hook, o.withdrawn = false, rec.Withdrawn
		s.log.Warn("live name was changed by somebody and is set right", zap.String("path", act.LivePath))
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	j := journalRec{Channel: m.Channel, ID: id, Previous: act.Previous, Withdrawn: o.withdrawn, Hook: o.hook, Again: o.again}
	if err := s.switchTo(r, j); err != nil {
		return nil, fail(err)
	}
	return act, nil
}

// switchTo switches the release's name to it:
//
//  1. everything that the switch relies on is made and durable
//  2. the journal says what is being done
//  3. the name is switched in one step, durably
//  4. one transaction records the result and ends the journal
//
// After a crash up to 3 the journal is dropped, from 3 on it is carried out.
func (s *Store) switchTo(r *Release, j journalRec) error {
	name := r.Manifest.Name
	exists, err := s.mayReplace(name, j.Channel)
	if err != nil {
		return err
	}
	// A Commit that failed between its rename and its sync leaves a release
	// that is complete, but not yet for good.
	if err := s.syncReleases(); err != nil {
		return err
	}
	if err := s.writeChanged(j.Previous, r); err != nil {
		return err
	}
	tmp, copied, err := s.prepare(r)
	if err != nil {
		return err
	}
	j.Copy = copied
	err = s.update("activation of "+name, func(t tx) error { return put(t, bucketJournal, name, j) })
	if err == nil {
		err = s.install(tmp, name, exists)
	}
	if err != nil {
		_ = s.fs.remove(tmp)
	}
	switched, serr := s.settle(name)
	switch {
	case switched && serr == nil:
		return nil
	case err == nil && serr == nil:
		return fmt.Errorf("%s %w: it was replaced at the same time", s.abs(name), ErrForeign)
	}
	// A journal that could not be ended is ended by the next activation or
	// start.
	return errors.Join(err, serr)
}

// prepare makes, under a temporary name, what shall become the live name. The
// identity is returned when it is a file of its own.
func (s *Store) prepare(r *Release) (tmp string, copied *fileIdent, err error) {
	tmp = tmpDir + "/" + tempName("live")
	if r.Manifest.Kind == manifest.KindTree {
		err = s.fs.symlink(r.live(), tmp)
		if err == nil {
			err = s.fs.chown(tmp) // web servers may want it to be its target's owner's
		}
		return tmp, nil, err
	}
	if !s.noHardLinks {
		err = s.fs.link(r.live(), tmp)
		if err == nil || !noLinks(err) {
			return tmp, nil, err
		}
		s.log.Info("the file system does not permit a hard link, the live file is a copy", zap.String("release", r.ID), zap.Error(err))
	}
	err = s.fs.copyFile(r.live(), tmp)
	if err == nil {
		var st fs.FileInfo
		if st, err = s.root.Lstat(tmp); err == nil {
			return tmp, identOf(st), nil
		}
	}
	_ = s.fs.remove(tmp)
	return tmp, nil, err
}

// install puts the prepared file or symlink under the live name. Where nothing
// was, it makes sure in the same step that still nothing is there.
func (s *Store) install(tmp, name string, exists bool) error {
	if !exists {
		err := s.fs.link(tmp, name)
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%s %w: it has appeared just now", s.abs(name), ErrForeign)
		case err == nil:
			return s.fs.remove(tmp)
		case !noLinks(err):
			return err
		}
	}
	if err := s.fs.rename(tmp, name); err != nil {
		return err
	}
	// Renaming onto another name of the same file does nothing at all.
	return s.fs.removeIfThere(tmp)
}

// settleAll ends the activations that a crash has interrupted.
func (s *Store) settleAll() error {
	var open []string
	if err := s.view(func(t tx) error { open = keys(t, bucketJournal); return nil }); err != nil {
		return err
	}
	for _, name := range open {
		if _, err := s.settle(name); err != nil {
			// The next activation tries again; what is live works meanwhile.
			s.log.Error("cannot end an interrupted activation", zap.String("path", s.abs(name)), zap.Error(err))
		}
	}
	return nil
}

// settle ends the activation of the name that the journal knows of, if any:
// when the switch was made, it is recorded, otherwise it is forgotten.
func (s *Store) settle(name string) (switched bool, err error) {
	var j journalRec
	var begun bool
	err = s.view(func(t tx) (err error) {
		j, begun, err = get[journalRec](t, bucketJournal, name)
		return err
	})
	if err != nil || !begun {
		return false, err
	}
	if r, err := s.Release(j.ID); err == nil {
		if switched, err = s.showsCopy(name, r, j.Copy); err != nil {
			return false, err
		}
	}
	if !switched {
		return false, s.update("undone activation of "+name, func(t tx) error { return drop(t, bucketJournal, name) })
	}
	if err := s.fs.syncDir("."); err != nil {
		return true, err
	}
	return true, s.update("activation of "+name+" as done", func(t tx) error { return finishActivation(t, name, j) })
}

// finishActivation records an activation whose switch is durable.
func finishActivation(t tx, name string, j journalRec) error {
	rec, _, err := get[channelRec](t, bucketChannels, j.Channel)
	if err != nil {
		return err
	}
	rec.Live, rec.Previous, rec.Withdrawn = j.ID, j.Previous, j.Withdrawn
	if err := put(t, bucketChannels, j.Channel, rec); err != nil {
		return err
	}
	if err := put(t, bucketNames, name, nameRec{Channel: j.Channel, ID: j.ID, Copy: j.Copy}); err != nil {
		return err
	}
	if j.Hook {
		if err := makeDue(t, j.ID, j.Previous, j.Again); err != nil {
			return err
		}
	}
	return drop(t, bucketJournal, name)
}
