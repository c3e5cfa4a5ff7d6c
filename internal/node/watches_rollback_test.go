package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/config"
	"distd/internal/watch"
)

// TestPublishedByHand: a folder that was held back, and is published by hand then,
// is no longer said to be held.
func TestPublishedByHand(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "www")
	for _, name := range []string{"a", "b", "c"} {
		put(t, filepath.Join(folder, name), name)
	}
	n, _, _ := watching(t, t.TempDir(), folder, func(c *config.Config) { c.MaxDelete = "1" })
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Watching })
	for _, name := range []string{"a", "b"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Held })
	if _, err := n.Publish(t.Context(), PublishRequest{Path: folder, Channel: "web", MaxDelete: "none"}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Watching })
	if s := n.watchStatus()[0]; s.Newest != 0 || s.Problem != "" || serialOf(n) != 2 {
		t.Errorf("afterwards: %s", s.String())
	}
}

// TestRollbackOfWatched: what was taken back does not come again with the next
// change, over a restart neither, until the operator says that the folder is
// mended; and the status says what is going on.
func TestRollbackOfWatched(t *testing.T) {
	dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "www")
	put(t, filepath.Join(folder, "a"), "good")
	n, _, stop := watching(t, dir, folder, nil)
	eventually(t, func() bool { return serialOf(n) == 1 })
	put(t, filepath.Join(folder, "a"), "bad")
	eventually(t, func() bool { return serialOf(n) == 2 })
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Watching })
	if s := n.watchStatus()[0]; s.Newest != 0 {
		t.Errorf("before: %s", s.String())
	}
	if res, err := n.Rollback(t.Context(), "web", 0, true); err != nil || res.Note != "" || n.watchStatus()[0].Paused {
		t.Errorf("a dry run: %+v, %v", res, err)
	}
	if _, err := n.Rollback(t.Context(), "web", 77, false); err == nil || n.watchStatus()[0].Paused {
		t.Errorf("a rollback that fails: %v, %+v", err, n.watchStatus())
	}
	res, err := n.Rollback(t.Context(), "web", 0, false)
	if err != nil || !strings.Contains(res.Note, "distd watch resume web") {
		t.Fatalf("%+v, %v", res, err)
	}
	put(t, filepath.Join(folder, "other"), "new")
	eventually(t, func() bool { return n.watchStatus()[0].Changed > 0 })
	if s := n.watchStatus()[0]; !strings.HasPrefix(s.String(), "paused since ") || !strings.HasSuffix(s.String(), ", by a rollback, 1 changed, the newest release, 3, is not from here") {
		t.Errorf("afterwards: %s", s.String())
	}
	stop()
	n, _, stop = watching(t, dir, folder, nil)
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Paused })
	if s := n.watchStatus()[0]; s.PausedBecause != "by a rollback" || s.Newest != 3 || newestTree(n)["a"] != "good" {
		t.Errorf("after a restart: %+v", s)
	}
	put(t, filepath.Join(folder, "a"), "mended")
	if list, err := n.Watch(WatchRequest{Action: WatchResume}); err != nil || list[0].State == watch.Paused {
		t.Errorf("%+v, %v", list, err)
	}
	eventually(t, func() bool { return newestTree(n)["a"] == "mended" })
	eventually(t, func() bool { s := n.watchStatus()[0]; return s.Newest == 0 && s.PausedBecause == "" })
	stop()

	// Without a master that runs it is the same.
	alone, err := RollbackAlone(t.Context(), dir, "web", 0, false)
	if err != nil || !strings.Contains(alone.Note, "distd watch resume web") {
		t.Fatalf("%+v, %v", alone, err)
	}
	n, _, _ = watching(t, dir, folder, nil)
	eventually(t, func() bool { return n.watchStatus()[0].State == watch.Paused })
}
