package watch

import (
	"fmt"
	"maps"
	"time"
)

// maxNamed is how many changed paths are remembered by name.
const maxNamed = 10000

// changes are what happened to a tree since it was last published.
type changes struct {
	paths       map[string]struct{}
	all         bool   // more than paths says: any file may have changed
	sample      string // the first one
	first, last time.Time
}

func (c *changes) add(path string, now time.Time) {
	if c.first.IsZero() {
		c.first = now
	}
	c.last = now
	c.name(path)
}

func (c *changes) name(path string) {
	if c.sample == "" {
		c.sample = path
	}
	if c.paths == nil {
		c.paths = map[string]struct{}{}
	}
	if len(c.paths) >= maxNamed {
		c.all = true
		return
	}
	c.paths[path] = struct{}{}
}

func (c *changes) has(path string) bool {
	_, ok := c.paths[path]
	return ok || c.all
}

// merge adds what happened before; its times are not taken over.
func (c *changes) merge(old changes) {
	if c.paths == nil {
		c.paths = map[string]struct{}{}
	}
	maps.Copy(c.paths, old.paths)
	c.all = c.all || old.all || len(c.paths) > maxNamed
	if old.sample != "" {
		c.sample = old.sample
	}
}

func (c *changes) String() string {
	switch n := len(c.paths); {
	case n == 0:
		return "changed"
	case n == 1:
		return "changed: " + c.sample
	case n >= maxNamed:
		return fmt.Sprintf("changed: %s and %d or more others", c.sample, n-1)
	default:
		return fmt.Sprintf("changed: %s and %d more", c.sample, n-1)
	}
}
