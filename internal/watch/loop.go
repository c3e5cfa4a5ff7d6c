package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// maxWait is the longest time between two looks at a file that is waited for.
const maxWait = 10 * time.Second

// triedAgain is why a tree is published that has not changed since it could not
// be.
const triedAgain = "tried again after an error"

// lookAtRoot sees whether the path leads to what is watched.
func (w *Watch) lookAtRoot(now time.Time) {
	w.nextLook = now.Add(w.cfg.lookEach)
	changed, err := w.tree.look()
	word := ""
	if err != nil {
		word = err.Error()
	}
	w.once("root", word, func() {
		w.log.Warn("what is to be watched is not there; nothing is published until it is", zap.Error(err))
	})
	w.mu.Lock()
	w.status.missing = word
	w.mu.Unlock()
	if changed {
		w.waiting = waiting{}
		w.nextScan = now
	}
}

// rescan looks through the tree for what no event has told, at the start for
// what has changed since the last run.
func (w *Watch) rescan(ctx context.Context, now time.Time) {
	t := w.tree
	t.mu.Lock()
	t.drain()
	t.readRules()
	l, err := t.scan(ctx, nil)
	problem := t.problem
	t.mu.Unlock()
	w.scheduleScan(now, problem)
	if err != nil {
		w.mayLog("scan", err, "cannot look through the tree")
		return
	}
	w.said["scan"] = ""
	w.mu.Lock()
	w.status.Rescans++
	w.mu.Unlock()
	fresh := w.fresh
	w.fresh = false
	if w.cfg.Marker != "" {
		if l.marker.After(w.marker) {
			w.timing.ask(now, "marker "+w.cfg.Marker)
		}
		return
	}
	if fresh && w.known != "" && l.sum() == w.known {
		w.seen = l.folders
	}
	where, differs := l.differs(w.seen)
	switch {
	case fresh && w.known == "":
		w.timing.ask(now.Add(w.cfg.Settle), "first look")
	case fresh && differs:
		w.timing.ask(now.Add(w.cfg.Settle), "changed since the last run")
	case differs && w.seen != nil && t.quiet():
		w.changedUnseen(now, where)
	case w.held != nil && !now.Before(w.tryAgain):
		w.timing.ask(now, triedAgain)
	}
}

// changedUnseen takes in a change that no event has told of: all files are
// suspect then.
func (w *Watch) changedUnseen(now time.Time, where string) {
	w.tree.mu.Lock()
	w.tree.changes.all = true
	w.tree.mu.Unlock()
	w.timing.ask(now.Add(w.cfg.Settle), "rescan: changed in "+where)
}

// quiet says that no change is known that is still to be published.
func (t *tree) quiet() bool {
	first, _ := t.changedAt()
	return first.IsZero()
}

// scheduleScan says when to look through the tree next.
func (w *Watch) scheduleScan(now time.Time, problem string) {
	wait := w.cfg.Rescan
	if problem != "" {
		wait = w.cfg.partEach
	}
	w.nextScan = now.Add(wait)
	w.once("watches", problem, func() {
		w.log.Warn("not all of the tree is watched; it is looked through now and then instead", zap.String("problem", problem), zap.Duration("every", wait))
	})
}

// lookAtWaiting sees whether the file that is waited for is closed.
func (w *Watch) lookAtWaiting(now time.Time) {
	if now.Before(w.waiting.next) {
		return
	}
	if w.tree.stillOpen(w.waiting.file) {
		waited := now.Sub(w.waiting.since)
		w.waiting.next = now.Add(min(max(w.cfg.Settle, waited/4), maxWait))
		if !w.waiting.warned && waited >= w.cfg.MaxDelay {
			w.waiting.warned = true
			w.log.Warn("a file that is open for writing holds the release back; if no program has it open, touch it", zap.String("file", w.waiting.file), zap.Int("others", w.waiting.more), zap.Duration("for", waited.Round(time.Second)))
		}
		return
	}
	// Others of the same program may be open: the next try finds them.
	w.waiting.file = ""
}

// attempt publishes the tree, unless somebody writes to a file of it.
func (w *Watch) attempt(ctx context.Context, now time.Time, why string) {
	t := w.tree
	t.mu.Lock()
	t.drain()
	t.readRules()
	pending := t.changes
	l, err := t.scan(ctx, pending.has)
	problem, guessed := t.problem, ""
	if t.guessed {
		guessed = "guessed"
	}
	ready := err == nil && l.opened == 0
	if ready {
		t.changes = changes{}
	}
	t.mu.Unlock()
	w.scheduleScan(now, problem)
	w.once("writers", guessed, func() {
		w.log.Warn("who writes to files of other users is known from events alone: a file that was open before, or is open twice, may be published half written; CAP_LEASE in AmbientCapabilities of the service changes that")
	})
	because := why
	if because == "" {
		because = pending.String() + ", " + w.timing.settledAfter(now, pending.first, pending.last)
	}
	switch {
	case err != nil:
		w.mayLog("scan", err, "cannot look through the tree")
		w.timing.again(now, why)
		w.record(&Last{At: now.UTC(), Because: because, Error: err.Error()}, func(s *Status) { s.Retries++ })
		return
	case !ready:
		if w.waiting.since.IsZero() {
			w.waiting.since = now
		}
		w.waiting.file, w.waiting.more, w.waiting.next = l.open[0], l.opened-1, now.Add(min(w.cfg.Settle, time.Second))
		return
	}
	w.fresh, w.waiting = false, waiting{}
	w.timing.begin()
	w.setState(Publishing)
	out, err := w.cfg.Publish(ctx, &Request{
		Channel: w.cfg.Channel, Path: w.cfg.Path, Because: because, Digest: l.sum(), LeaveOut: t.leaveOut,
		Confirm: func() error { return w.confirm(ctx) },
	})
	if ctx.Err() != nil {
		return
	}
	w.finish(time.Now(), why, because, pending, l, out, err)
}

// confirm is Request.Confirm.
func (w *Watch) confirm(ctx context.Context) error {
	w.mu.Lock()
	stopped := w.stop
	w.mu.Unlock()
	switch open, lost := w.tree.confirm(ctx); {
	case stopped:
		return Later(errors.New("paused meanwhile"))
	case open != "":
		return Later(fmt.Errorf("%s is open for writing", open))
	case lost:
		return Later(errors.New("what happened to the tree meanwhile is not known: inotify has lost events"))
	}
	return nil
}

// finish takes in how publishing ended.
func (w *Watch) finish(now time.Time, why, because string, pending changes, l *look, out Outcome, err error) {
	t := w.tree
	last := &Last{At: now.UTC(), Because: because, Outcome: out}
	if err == nil {
		w.timing.succeeded()
		w.seen, w.marker, w.held = l.folders, newer(w.marker, l.marker), nil
		w.said["publish"] = ""
		w.record(last, func(s *Status) {
			if !out.Unchanged {
				s.Published++
			}
		})
		return
	}
	last.Error = err.Error()
	var again later
	retry := errors.As(err, &again)
	t.mu.Lock()
	t.changes.merge(pending)
	if retry && why == "" && t.changes.first.IsZero() {
		t.changes.first, t.changes.last = now, now
	}
	t.mu.Unlock()
	if retry {
		w.timing.again(now, why)
		w.log.Info("not published yet; it is tried again", zap.String("because", because), zap.Error(err), zap.Duration("in", time.Until(w.timing.notBefore).Round(time.Millisecond)))
		w.record(last, func(s *Status) { s.Retries++ })
		return
	}
	w.timing.refused()
	// For what is no change of the tree, such as a full disk.
	w.held, w.seen, w.tryAgain = err, l.folders, now.Add(w.cfg.Rescan)
	if w.said["publish"] != err.Error() || why != triedAgain {
		w.log.Error("not published; it is tried again when the tree has changed", zap.String("because", because), zap.Error(err))
	}
	w.said["publish"] = err.Error()
	w.record(last, func(s *Status) { s.Refusals++ })
}

func newer(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mayLog logs an error, unless it was the last one on its subject.
func (w *Watch) mayLog(subject string, err error, text string) {
	w.once(subject, err.Error(), func() { w.log.Error(text, zap.Error(err)) })
}
