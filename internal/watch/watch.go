// Package watch finds out when a folder, or a file, has changed and has come to
// rest, so that it can be published.
//
// Five parts, each of which decides one thing:
//
//	timing   when it is time to publish: pure, no clock of its own
//	tree     what has changed: inotify, and the folders that are watched
//	scan     what is there: lists the tree, and notices what no event told
//	open     whether somebody still writes to a file
//	rules    what is left out, of which none of them takes notice
//
// A Watch has the loop that connects them. It knows nothing of publishing but
// the function that it is given.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Config says what to watch and what to do when it has settled. Channel, Path,
// Settle, MaxDelay, Rescan and Publish are needed.
type Config struct {
	Channel string // for status and log
	// Path is absolute. A symlink is followed, and noticed when it is switched.
	// It may be missing for a while.
	Path string

	Settle   time.Duration // how long nothing must have changed
	MaxDelay time.Duration // after which it is published while it still changes; not below Settle
	Rescan   time.Duration // how often the tree is looked through without a reason

	// Marker is the name of a file in the folder (or beside the file) that is
	// made or touched when a change is complete. When it is set nothing else is
	// a reason to publish.
	Marker string
	// Rules reads what is left out of the tree below a folder, and RulesFile is the
	// name of the file there that it reads this from: it is called again when that
	// file has changed, and before each try. nil: nothing is left out. Publish
	// must go by the same rules.
	Rules     func(dir string) (Rules, error)
	RulesFile string
	// Since is when the channel's newest release was made: a marker that was
	// touched later is news.
	Since time.Time
	// Known is the digest that Publish was last called with and succeeded;
	// "" for none. A tree that has it still is not published at the start.
	Known  string
	Paused bool // at the start
	// PausedBecause is what was given to the Hold that made the pause.
	PausedBecause string

	// Publish publishes the tree. It is called by Run, one call at a time. An
	// error that Later marks is followed by another try, any other one by
	// nothing until the tree changes.
	Publish func(context.Context, *Request) (Outcome, error)
	Log     *zap.Logger

	sys      *system       // of tests
	lookEach time.Duration // how often to see whether Path is still the same; of tests
	partEach time.Duration // how often to look through a tree that is not all watched; of tests
}

// Request is a tree that has settled.
type Request struct {
	Channel, Path string
	Because       string // in words, for status and log
	Digest        string // of what was there when the tree was looked through
	// Confirm is to be called when all was read and nothing is visible yet. An
	// error says that somebody writes to a file that was read: it is to be
	// returned, and nothing published.
	Confirm func() error
	// LeaveOut says which paths, slash-separated and below Path, are not part
	// of the release, besides those that the rules leave out.
	LeaveOut func(path string) bool
}

// Outcome is what came of a Request.
type Outcome struct {
	Serial    uint64 `json:"serial"`
	Unchanged bool   `json:"unchanged"` // the newest release has this content already
	// Unreadable is how many files and folders were left out as they may not be
	// read.
	Unreadable int `json:"unreadable,omitempty"`
}

// later is an error after which trying again helps.
type later struct{ error }

func (e later) Unwrap() error { return e.error }

// Later marks an error as one that may be gone at the next try.
func Later(err error) error {
	if err == nil {
		return nil
	}
	return later{err}
}

// Watch watches one folder.
type Watch struct {
	cfg  Config
	log  *zap.Logger
	tree *tree
	wake chan struct{} // of the loop; holds one

	mu     sync.Mutex // guards what others may look at or ask for
	status Status
	paused bool
	force  bool // Now was called
	retry  bool // Retry was called
	stop   bool // Hold was called since the loop has looked at paused

	// The rest belongs to the loop.
	timing   timing
	seen     map[string]digest // by folder, as of the last try that is not repeated
	known    string            // digest of a run before this one
	waiting  waiting
	held     error     // of the last try, when trying again does not help
	tryAgain time.Time // when held all the same
	fresh    bool      // nothing was scanned yet
	marker   time.Time
	nextLook time.Time
	nextScan time.Time
	said     map[string]string // what was logged last, by subject
}

// waiting is a file that somebody writes to, and that the release waits for.
type waiting struct {
	file   string // "" for none
	more   int    // files besides
	since  time.Time
	next   time.Time // when to look again
	warned bool
}

// New checks nothing on disk and starts nothing.
func New(cfg Config) (*Watch, error) {
	switch {
	case cfg.Publish == nil || cfg.Path == "":
		return nil, errors.New("watch: no path, or nothing to do with it")
	case cfg.Settle <= 0 || cfg.Rescan <= 0 || cfg.MaxDelay < cfg.Settle:
		return nil, fmt.Errorf("watch %s: settle time %s, longest delay %s, rescan %s: want more than zero, and no delay below the settle time", cfg.Path, cfg.Settle, cfg.MaxDelay, cfg.Rescan)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.sys == nil {
		cfg.sys = newSystem()
	}
	if cfg.lookEach == 0 {
		cfg.lookEach = 10 * time.Second
	}
	if cfg.partEach == 0 {
		cfg.partEach = min(30*time.Second, cfg.Rescan)
	}
	w := &Watch{
		cfg: cfg, log: cfg.Log.With(zap.String("channel", cfg.Channel), zap.String("path", cfg.Path)),
		wake: make(chan struct{}, 1), paused: cfg.Paused, known: cfg.Known, fresh: true, marker: cfg.Since,
		timing: timing{settle: cfg.Settle, max: cfg.MaxDelay, onDemand: cfg.Marker != ""},
		said:   map[string]string{},
	}
	w.tree = newTree(cfg.Path, cfg.Marker, cfg.sys, w.poke)
	w.tree.book = rulebook{file: cfg.RulesFile, read: cfg.Rules}
	w.status = Status{Channel: cfg.Channel, Path: cfg.Path, State: Starting, Since: time.Now().UTC(), Marker: cfg.Marker, Paused: cfg.Paused, PausedBecause: cfg.PausedBecause}
	return w, nil
}

// poke has the loop look what there is to do.
func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Pause ends publishing until Resume. Changes are collected meanwhile; a
// release that is being made is brought to its end.
func (w *Watch) Pause() { w.setPaused(true, "") }

// Hold is Pause for a reason that the status names. A release that is being made,
// and is not visible yet, is given up: it is made after the pause.
func (w *Watch) Hold(because string) {
	w.mu.Lock()
	w.stop = true
	w.mu.Unlock()
	w.setPaused(true, because)
}

// Resume ends a pause.
func (w *Watch) Resume() { w.setPaused(false, "") }

func (w *Watch) setPaused(p bool, because string) {
	w.mu.Lock()
	w.paused, w.status.Paused, w.status.PausedBecause = p, p, because
	// Who looks before the loop has come to it sees what was done.
	switch s := w.status.State; {
	case s == Publishing || s == Missing:
	case p:
		w.change(Paused, time.Now())
	case s == Paused && w.status.Changed > 0:
		w.change(Settling, time.Now())
	case s == Paused:
		w.change(Watching, time.Now())
	}
	w.mu.Unlock()
	w.poke()
}

// Now publishes without waiting for the tree to settle, in a pause too. Files
// that are open for writing are still waited for.
func (w *Watch) Now() {
	w.mu.Lock()
	w.force = true
	if s := w.status.State; s == Paused || s == Watching || s == Held {
		w.change(Settling, time.Now())
	}
	w.mu.Unlock()
	w.poke()
}

// Retry tries again what could not be published, for something that is no change
// of the tree may have set it right. It waits for the end of a pause.
func (w *Watch) Retry() {
	w.mu.Lock()
	w.retry = true
	w.mu.Unlock()
	w.poke()
}

// Run watches until ctx ends, and returns its error.
func (w *Watch) Run(ctx context.Context) error {
	defer w.tree.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		case <-timer.C:
		}
		w.step(ctx, time.Now())
		timer.Reset(max(0, time.Until(w.next())))
	}
}

// step does what is due.
func (w *Watch) step(ctx context.Context, now time.Time) {
	news := w.tree.news()
	if news.root || !now.Before(w.nextLook) {
		w.lookAtRoot(now)
	}
	if news.lost { // not at once: where events are lost, more are on their way
		w.nextScan = earlier(w.nextScan, now.Add(w.cfg.Settle))
	}
	if news.marked {
		w.timing.ask(now.Add(markerDelay), "marker "+w.cfg.Marker)
	}
	if news.closed {
		w.waiting.next = now
	}
	if news.rules { // at once, for watches to be right, and no file be waited for in vain
		w.nextScan, w.waiting.next = now, now
	}
	w.mu.Lock()
	if w.force {
		w.timing.insist(now, "asked for by the operator")
		w.waiting.next, w.force = now, false
	}
	if w.retry && w.held != nil {
		w.timing.ask(now, triedAgain)
	}
	paused := w.paused
	w.stop, w.retry = false, false
	w.mu.Unlock()
	there := w.tree.there()
	if there && !now.Before(w.nextScan) {
		w.rescan(ctx, now)
	}
	if w.waiting.file != "" {
		w.lookAtWaiting(now)
	}
	first, last := w.tree.changedAt()
	if why, due := w.timing.due(now, first, last); due && there && w.waiting.file == "" && (!paused || w.timing.insisted()) {
		w.attempt(ctx, now, why)
	}
	w.show(time.Now())
}

// next is when there is something to do again without an event.
func (w *Watch) next() time.Time {
	at := w.nextLook
	there := w.tree.there()
	if there {
		at = earlier(at, w.nextScan)
	}
	if w.waiting.file != "" {
		return earlier(at, w.waiting.next)
	}
	w.mu.Lock()
	paused := w.paused
	w.mu.Unlock()
	first, last := w.tree.changedAt()
	if t, ok := w.timing.at(first, last); ok && there && (!paused || w.timing.insisted()) {
		at = earlier(at, t)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// once logs what has not been the last word on its subject. An empty word ends
// the subject.
func (w *Watch) once(subject, word string, log func()) {
	if w.said[subject] == word {
		return
	}
	w.said[subject] = word
	if word != "" {
		log()
	}
}
