package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/store"
)

// scrubNode is a master's node with some releases that does not run.
func scrubNode(t *testing.T, dir string) *Node {
	t.Helper()
	st, err := store.Open(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	n := &Node{store: st, log: zap.NewNop(), role: config.RoleMaster}
	cfg := defaults(config.RoleMaster)
	cfg.Scrub, cfg.ScrubRate = time.Hour, 0
	n.cfg.Store(&cfg)
	n.releases = newKeeper(n)
	n.scrub = newScrubber(n)
	return n
}

// TestScrubGoesOnAfterRestart: with the release and piece where it was, and what
// it had found.
func TestScrubGoesOnAfterRestart(t *testing.T) {
	dir := publishAll(t, many(6))
	n := scrubNode(t, dir)
	if wait, what := n.scrub.next(time.Now()); what != nil || wait <= 0 {
		t.Error("a new node reads everything at once")
	}
	rels := n.store.Releases()
	name := filepath.Join(rels[2].ContentRoot(), rels[2].Manifest.Name)
	if err := os.Truncate(name, 1); err != nil {
		t.Fatal(err)
	}
	n.scrub.state.Finished = time.Now().Add(-2 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	// The end of the daemon comes in the fourth release.
	for range 3 {
		id := n.scrub.nextRelease()
		if err := n.scrub.checkGently(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	n.scrub.state.Started = time.Now()
	next := n.scrub.nextRelease()
	n.scrub.state.Release, n.scrub.state.Piece = next, 0
	cancel()
	n.scrub.pass(ctx)
	done := slices.Clone(n.scrub.state.Done)
	if err := n.store.Close(); err != nil {
		t.Fatal(err)
	}

	n = scrubNode(t, dir)
	if s := n.scrub.state; !slices.Equal(s.Done, done) || len(done) != 3 || s.Release != next {
		t.Fatalf("after a restart: %+v; want %q done and %s begun", s, done, next)
	}
	_, what := n.scrub.next(time.Now())
	if what == nil {
		t.Fatal("the pass does not go on")
	}
	what(t.Context())
	var st Status
	st.Releases = []ReleaseStatus{{ID: rels[2].ID}, {ID: rels[0].ID}}
	n.scrub.describe(&st)
	if st.Scrub.Running || st.Scrub.Finished.IsZero() || st.Scrub.Next.Before(time.Now()) || st.Releases[0].Damaged != 1 || st.Releases[1].Damaged != 0 {
		t.Errorf("after the pass: %+v", st)
	}
	if len(n.scrub.state.Done) != 0 || n.scrub.state.Release != "" {
		t.Errorf("the position is kept after the end: %+v", n.scrub.state)
	}
}

// TestOneCheckAtATime: an operator takes the turn from the background, which has
// it again afterwards.
func TestOneCheckAtATime(t *testing.T) {
	n := scrubNode(t, publishAll(t, many(1)))
	s := n.scrub
	begun, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- s.background(t.Context(), func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-begun
	ran := false
	if err := s.foreground(t.Context(), func() error {
		ran = true
		select {
		case s.turn <- struct{}{}:
			t.Error("somebody else may check at the same time")
		default:
		}
		return nil
	}); err != nil || !ran {
		t.Errorf("foreground: %v", err)
	}
	if err := <-ended; !errors.Is(err, errPaused) {
		t.Errorf("the background ended with %v", err)
	}
	if err := s.background(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Errorf("the background again: %v", err)
	}
}
