package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWatches(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "www", "distd")
	live := filepath.Join(dir, ".distd", "releases", "x")
	if err := os.MkdirAll(live, 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": "www", "live": live} {
		if err := os.Symlink(to, filepath.Join(top, from)); err != nil {
			t.Fatal(err)
		}
	}
	many := make([]string, MaxWatches+1)
	for i := range many {
		many[i] = fmt.Sprintf("c%d=/srv/%d", i, i)
	}
	for _, c := range []struct {
		watch []string
		more  map[string]any
		want  string // of the error, "" for none
	}{
		{[]string{"web=/srv/www/", "docs=/srv/docs.tar"}, nil, ""},
		{[]string{"web=" + top + "/www/beside"}, nil, ""},
		{[]string{"web=" + dir + "/incoming"}, nil, ""},
		{many[:MaxWatches], nil, ""},
		{many, nil, "more than 32"},
		{[]string{"web"}, nil, "want CHANNEL=PATH"},
		{[]string{"web="}, nil, "want CHANNEL=PATH"},
		{[]string{"W B=/srv"}, nil, "channel"},
		{[]string{"web=srv/www"}, nil, "must be absolute"},
		{[]string{"web=/a", "web=/b"}, nil, "another path already"},
		{[]string{"web=" + top + "/www"}, nil, "own folder"},
		{[]string{"web=" + top + "/link"}, nil, "own folder"},
		{[]string{"web=" + dir}, nil, "own folder"},
		{[]string{"web=/"}, nil, "own folder"},
		{[]string{"web=" + top + "/live"}, nil, "which the node keeps"},
		{[]string{"web=/a"}, map[string]any{"watch_marker": "a/b"}, "watch_marker"},
		{[]string{"web=/a"}, map[string]any{"watch_marker": ".."}, "watch_marker"},
		{[]string{"web=/a"}, map[string]any{"watch_marker": ".publish"}, ""},
		{[]string{"web=/a"}, map[string]any{"watch_settle": "2m"}, "watch_max_delay (1m0s) must not be less"},
		{[]string{"web=/a"}, map[string]any{"watch_settle": "0s"}, "watch_settle must be more than zero"},
		{[]string{"web=/a"}, map[string]any{"watch_unreadable": "leave"}, "none of hold, skip"},
		{[]string{"web=/a"}, map[string]any{"role": "seed", "master": "http://m:1"}, "for masters"},
	} {
		flags := map[string]any{"role": "master", "dir": dir, "watch": c.watch}
		for k, v := range c.more {
			flags[k] = v
		}
		cfg, err := Load(Sources{File: os.DevNull, Flags: flags})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%v %v: %v", c.watch, c.more, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%v %v: error %v, want %q", c.watch, c.more, err, c.want)
		case err == nil && len(cfg.Watches()) != len(c.watch):
			t.Errorf("%v: watches %v", c.watch, cfg.Watches())
		}
	}
	if got := (&Config{Watch: []string{"web=/srv/www/"}}).Watches(); got[0] != (WatchLine{"web", "/srv/www"}) {
		t.Errorf("watches %v", got)
	}
}
