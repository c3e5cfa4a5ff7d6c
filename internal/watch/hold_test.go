package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHold: a release that is being made and is not visible yet is given up, and
// made after the pause.
func TestHold(t *testing.T) {
	dir := tree1(t)
	var w *Watch
	w, p := start(t, dir, func(c *Config, p *publisher) {
		c.Paused = true
		p.during = func() {
			p.set(func() { p.during = nil })
			w.Hold("by a rollback")
		}
	})
	inState(t, w, Paused)
	w.Resume()
	wait(t, "for the try to be given up", func() bool { return w.Status().Retries == 1 })
	if s := inState(t, w, Paused); s.PausedBecause != "by a rollback" || s.Last.Error != "publish: paused meanwhile" || len(p.all()) != 0 {
		t.Errorf("%+v, %d releases", s, len(p.all()))
	}
	time.Sleep(3 * testSettle)
	if n := p.tried(); n != 1 {
		t.Errorf("%d tries", n)
	}
	w.Now() // holds in such a pause too
	p.reason("asked for by the operator")
	if s := inState(t, w, Paused); s.PausedBecause == "" {
		t.Errorf("the reason is gone: %+v", s)
	}
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("b"), 0o644))
	wait(t, "for the change to be seen", func() bool { return w.Status().Changed > 0 })
	w.Resume()
	p.published()
	if s := w.Status(); s.PausedBecause != "" {
		t.Errorf("it is paused no longer: %+v", s)
	}
}

// TestStatusAtOnce: who asks for something sees that it was done.
func TestStatusAtOnce(t *testing.T) {
	w, p := start(t, tree1(t), nil)
	p.published()
	inState(t, w, Watching)
	w.Pause()
	if s := w.Status(); s.State != Paused {
		t.Errorf("paused: %s", s.State)
	}
	inState(t, w, Paused)
	w.Resume()
	if s := w.Status(); s.State != Watching {
		t.Errorf("resumed: %s", s.State)
	}
}
