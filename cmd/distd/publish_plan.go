package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
	"distd/internal/publish"
)

// shownChanges is how many paths of each kind are printed for humans.
const shownChanges = 20

// planPublish shows what a publish would change.
func planPublish(ctx context.Context, cmd *cli.Command, req node.PublishRequest) error {
	if cmd.IsSet("to") {
		return usagef("-n compares with the newest release of the folder: leave -to out")
	}
	b := newBar(cmd.Root().ErrWriter, filepath.Base(req.Path))
	defer b.end()
	c, err := planBy(ctx, cmd.String("dir"), req, func(done, total int64) { b.set(done, total, "") })
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, c)
	}
	printChanges(cmd, c)
	return nil
}

func planBy(ctx context.Context, dir string, req node.PublishRequest, progress func(done, total int64)) (*publish.Changes, error) {
	c, err := node.DialControl(dir)
	if err == nil {
		return c.PlanPublish(ctx, req, progress)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	return node.PlanPublishAlone(ctx, dir, req, progress)
}

func printChanges(cmd *cli.Command, c *publish.Changes) {
	if c.Previous == 0 {
		printf(cmd, "channel %s has no release yet: ", c.Channel)
	} else {
		printf(cmd, "against release %d of channel %s: ", c.Previous, c.Channel)
	}
	kinds := []struct {
		letter, what string
		list         []publish.Change
	}{{"A", "added", c.Added}, {"M", "changed", c.Changed}, {"R", "moved", c.Moved}, {"D", "deleted", c.Deleted}, {"P", "with another mode", c.Modes}}
	for i, k := range kinds {
		if i > 0 {
			printf(cmd, ", ")
		}
		printf(cmd, "%d %s", len(k.list), k.what)
	}
	printf(cmd, "\n%s in %s, of which %s would travel\n", humanize.IBytes(uint64(c.Size)), count(c.Files, "file"), humanize.IBytes(uint64(c.Transfer)))
	for _, k := range kinds {
		for _, x := range k.list[:min(len(k.list), shownChanges)] {
			if x.From != "" {
				printf(cmd, "  %s  %s (was %s)\n", k.letter, x.Path, x.From)
			} else {
				printf(cmd, "  %s  %s\n", k.letter, x.Path)
			}
		}
		if n := len(k.list) - shownChanges; n > 0 {
			printf(cmd, "  %s  and %d more (-json lists all)\n", k.letter, n)
		}
	}
	for _, w := range c.Warnings {
		printf(cmd, "warning: %s\n", w)
	}
}
