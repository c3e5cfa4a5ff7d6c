package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// TestSpareOfLiveTree: a node that has nothing else to do makes a spare of its live
// tree, and removes it when none is wanted any more.
func TestSpareOfLiveTree(t *testing.T) {
	dir, source := t.TempDir(), t.TempDir()
	then := time.Unix(1_700_000_000, 0)
	for i := range 300 {
		name := filepath.Join(source, fmt.Sprint(i))
		if err := errors.Join(os.WriteFile(name, []byte(fmt.Sprint(i)), 0o644), os.Chtimes(name, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := store.Open(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	key, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := publish.Publish(t.Context(), st, key, publish.Options{Path: source, Channel: "web", Name: "site"})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	id := rel.ID
	n, stop := startIdle(t, config.RoleSeed, dir, nowhere(t), func(cfg *config.Config) {
		// It has copies, which have other times.
		for i := range 300 {
			if err := os.Chtimes(filepath.Join(cfg.Dir, ".distd/releases", id, "content/site", fmt.Sprint(i)), then, then); err != nil {
				t.Fatal(err)
			}
		}
	})
	defer stop()
	eventually(t, func() bool { return n.store.Spare(id) })
	for _, f := range []func(*config.Config){func(c *config.Config) { c.Spare = false }, func(c *config.Config) { c.Reuse = "copy" }} {
		cfg := *n.cfg.Load()
		f(&cfg)
		if err := n.Reload(&cfg); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return !n.store.Spare(id) })
		cfg.Spare, cfg.Reuse = true, "link"
		if err := n.Reload(&cfg); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return n.store.Spare(id) })
	}
}
