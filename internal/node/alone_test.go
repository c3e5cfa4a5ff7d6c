package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPublishInAnothersFolder: who publishes without a master in the folder of its
// user is told, since that user cannot work with what he has made.
func TestPublishInAnothersFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to write into another user's folder")
		}
		t.Skip("needs root to write into another user's folder")
	}
	file := filepath.Join(t.TempDir(), "x.bin")
	put(t, file, "x")
	for _, c := range []struct {
		name   string
		uid    int
		wanted string
	}{
		{"one's own", 0, ""},
		{"another's", 12345, "belongs to uid 12345, and what was just written to uid 0"},
	} {
		dir := t.TempDir()
		if err := os.Chown(dir, c.uid, -1); err != nil {
			t.Fatal(err)
		}
		res, err := PublishAlone(t.Context(), dir, PublishRequest{Path: file, Channel: "web"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The first note is that of the new key.
		if notes := strings.Join(res.Notes[1:], "\n"); c.wanted == "" && notes != "" || !strings.Contains(notes, c.wanted) {
			t.Errorf("%s: %q", c.name, res.Notes)
		}
	}
}

// TestPublishInFollowersFolder: nothing is published in a seed's or leaf's folder,
// with a key that nobody trusts, because its daemon happens to be down.
func TestPublishInFollowersFolder(t *testing.T) {
	dir := publishAll(t, []published{{"web", "a"}})
	st, err := OpenExisting(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Activate(t.Context(), st.Releases()[0].ID)
	if err := errors.Join(err, st.Close(), os.RemoveAll(filepath.Join(dir, controlDir, "keys"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.bin")
	put(t, file, "x")
	_, err = PublishAlone(t.Context(), dir, PublishRequest{Path: file, Channel: "other"}, nil)
	if ExitCode(err) != ExUsage || !strings.Contains(err.Error(), "which follows channel web and has no key") {
		t.Errorf("published: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, controlDir, "keys", "publish.key")); err == nil {
		t.Error("a key was made")
	}
}
