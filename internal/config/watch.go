package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"distd/internal/names"
)

// MaxWatches is how many folders a node watches: each takes one of the user's
// inotify instances, of which there are 128 by default.
const MaxWatches = 32

// WatchLine is a folder or file that is published by itself.
type WatchLine struct{ Channel, Path string }

// Watches are the lines of the setting, as they were checked.
func (c *Config) Watches() []WatchLine {
	lines, _ := parseWatches(c.Watch)
	return lines
}

// parseWatches reads lines of CHANNEL=PATH.
func parseWatches(lines []string) ([]WatchLine, error) {
	var out []WatchLine
	seen := map[string]bool{}
	for _, line := range lines {
		channel, path, ok := strings.Cut(line, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("watch %q: want CHANNEL=PATH, such as web=/srv/www", line)
		}
		if err := names.Channel(channel); err != nil {
			return nil, fmt.Errorf("watch %q: %w", line, err)
		}
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("watch %q: the path must be absolute, since a service has no folder of its own", line)
		}
		if seen[channel] {
			return nil, fmt.Errorf("watch %q: the channel has another path already, and each would take back what the other publishes", line)
		}
		seen[channel] = true
		out = append(out, WatchLine{channel, filepath.Clean(path)})
	}
	if len(out) > MaxWatches {
		return nil, fmt.Errorf("watch has %d paths, which is more than %d", len(out), MaxWatches)
	}
	return out, nil
}

func (c *Config) checkWatches() error {
	lines, err := parseWatches(c.Watch)
	if err != nil || len(lines) == 0 {
		return err
	}
	if c.Role != RoleMaster {
		return errors.New("watch is for masters, which publish: remove it")
	}
	if c.WatchMaxDelay < c.WatchSettle {
		return fmt.Errorf("watch_max_delay (%s) must not be less than watch_settle (%s)", c.WatchMaxDelay, c.WatchSettle)
	}
	if m := c.WatchMarker; m != "" {
		if err := names.Element(m); err != nil {
			return fmt.Errorf("watch_marker %q is not the name of a file, such as .publish: %w", m, err)
		}
	}
	for _, l := range lines {
		if err := l.apartFrom(c.Dir); err != nil {
			return err
		}
	}
	return nil
}

// apartFrom refuses a path that holds the node's folder, or is what the node
// keeps there: each release would be a reason for the next one.
func (l WatchLine) apartFrom(dir string) error {
	path, dir := resolve(l.Path), resolve(dir)
	if within(dir, path) {
		return fmt.Errorf("watch %s=%s: the node's own folder %s lies in it: choose another -dir, or watch a folder below", l.Channel, l.Path, dir)
	}
	if within(path, filepath.Join(dir, ".distd")) {
		return fmt.Errorf("watch %s=%s: that is a release which the node keeps: watch the folder that it was published from", l.Channel, l.Path)
	}
	return nil
}

// resolve follows the symlinks of a path as far as it is there.
func resolve(path string) string {
	rest := ""
	for p := path; ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		if p == filepath.Dir(p) {
			return path
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// within says whether a path is a folder or lies in it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
