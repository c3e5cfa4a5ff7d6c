package watch

import (
	"fmt"
	"time"
)

// State says in a word what a Watch does.
type State string

// The states.
const (
	Starting   State = "starting"
	Watching   State = "watching"   // nothing to do
	Settling   State = "settling"   // it changes, or has just changed
	Waiting    State = "waiting"    // for a file that is open for writing
	Publishing State = "publishing" // right now
	Held       State = "held"       // could not be published; it waits for a change
	Paused     State = "paused"     // by the operator
	Missing    State = "missing"    // the path leads to nothing
)

// Status is what a Watch tells of itself.
type Status struct {
	Channel string    `json:"channel"`
	Path    string    `json:"path"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"` // when the state began
	Paused  bool      `json:"paused"`
	// PausedBecause says why, when that was not by itself the operator's wish.
	PausedBecause string `json:"paused_because,omitempty"`
	// Newest is the channel's newest release when it did not come from this watch:
	// it was published by hand, or is a rollback. For those who show the status to
	// fill in.
	Newest uint64 `json:"newest_from_elsewhere,omitempty"`
	Marker string `json:"marker,omitempty"`
	// WaitingFor is the file that is open for writing, and Others how many are
	// besides.
	WaitingFor string `json:"waiting_for,omitempty"`
	Others     int    `json:"waiting_for_others,omitempty"`
	// Problem says why nothing is published, or what went wrong at the last try.
	Problem string `json:"problem,omitempty"`
	// Incomplete says why not all folders are watched; the tree is looked
	// through now and then instead.
	Incomplete string `json:"incomplete,omitempty"`
	// Guessing says that who writes to a file is known from events alone.
	Guessing bool  `json:"guessing,omitempty"`
	Folders  int   `json:"folders"`           // that are watched
	Ignored  int   `json:"ignored,omitempty"` // files, and folders with all in them, that are left out
	Changed  int   `json:"changed"`           // paths, since the last release
	Last     *Last `json:"last,omitempty"`

	Events    int `json:"events"`
	Overflows int `json:"overflows"` // times that events were lost
	Rescans   int `json:"rescans"`
	Published int `json:"published"`
	Retries   int `json:"retries"`  // tries that were put off
	Refusals  int `json:"refusals"` // tries that failed for good

	missing string
}

// Last is the last try to publish.
type Last struct {
	At      time.Time `json:"at"`
	Because string    `json:"because"`
	Outcome
	Error string `json:"error,omitempty"`
}

// String is the status in a line.
func (s *Status) String() string {
	line := string(s.State)
	switch s.State {
	case Settling, Publishing, Held, Paused, Missing:
		line += " since " + s.Since.Local().Format(time.TimeOnly)
	case Waiting:
		line = fmt.Sprintf("waiting since %s for %s, which is open for writing", s.Since.Local().Format(time.TimeOnly), s.WaitingFor)
		if s.Others > 0 {
			line += fmt.Sprintf(" (and %d more)", s.Others)
		}
	}
	if s.State == Paused && s.PausedBecause != "" {
		line += ", " + s.PausedBecause
	}
	if s.Changed > 0 {
		line += fmt.Sprintf(", %d changed", s.Changed)
	}
	if s.Ignored > 0 {
		line += fmt.Sprintf(", %d ignored", s.Ignored)
	}
	if s.Marker != "" {
		line += ", publishes when " + s.Marker + " is touched"
	}
	if s.Newest > 0 {
		line += fmt.Sprintf(", the newest release, %d, is not from here", s.Newest)
	}
	if s.Problem != "" {
		line += ": " + s.Problem
	}
	if s.Guessing {
		line += "; writers are known from events alone, for want of CAP_LEASE"
	}
	if s.Incomplete != "" {
		line += "; incomplete: " + s.Incomplete
	}
	return line
}

// String is the last try in a line.
func (l *Last) String() string {
	line := l.At.Local().Format(time.TimeOnly) + ", " + l.Because + ": "
	switch {
	case l.Error != "":
		return line + l.Error
	case l.Unchanged:
		line += fmt.Sprintf("nothing new, release %d has this content", l.Serial)
	default:
		line += fmt.Sprintf("release %d", l.Serial)
	}
	if l.Unreadable > 0 {
		line += fmt.Sprintf(", without %d files and folders that may not be read", l.Unreadable)
	}
	return line
}

// Status returns the state as of now.
func (w *Watch) Status() Status {
	w.mu.Lock()
	s := w.status
	w.mu.Unlock()
	// The tree is locked while it is looked through; status need not wait for
	// that.
	if w.tree.mu.TryLock() {
		w.count(&s)
		w.tree.mu.Unlock()
	}
	return s
}

// count fills in what the tree knows.
func (w *Watch) count(s *Status) {
	t := w.tree
	s.Folders, s.Changed, s.Events, s.Overflows = 0, len(t.changes.paths), t.heard, t.lost
	for _, nodes := range t.byWD {
		s.Folders += len(nodes)
	}
	s.Incomplete, s.Guessing, s.Ignored = t.problem, t.guessed, t.book.ignored
}

// show sets the state that is shown.
func (w *Watch) show(now time.Time) {
	first, last := w.tree.changedAt()
	_, busy := w.timing.at(first, last)
	state, problem := Watching, ""
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.status.missing != "":
		state, problem = Missing, w.status.missing
	case w.paused && !w.timing.insisted():
		state = Paused
	case w.waiting.file != "":
		state = Waiting
	case busy:
		state = Settling
		if l := w.status.Last; l != nil && w.timing.failures > 0 {
			problem = l.Error
		}
	case w.held != nil:
		state, problem = Held, w.held.Error()
	}
	w.change(state, now)
	w.status.WaitingFor, w.status.Others, w.status.Problem = w.waiting.file, w.waiting.more, problem
	w.tree.mu.Lock()
	w.count(&w.status)
	w.tree.mu.Unlock()
}

func (w *Watch) setState(s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change(s, time.Now())
	w.status.WaitingFor, w.status.Others, w.status.Problem = "", 0, ""
}

func (w *Watch) change(s State, now time.Time) {
	if w.status.State != s {
		w.status.State, w.status.Since = s, now.UTC()
	}
}

// record keeps how a try ended.
func (w *Watch) record(l *Last, count func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Last = l
	count(&w.status)
}
