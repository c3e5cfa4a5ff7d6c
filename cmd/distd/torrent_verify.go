package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"distd/internal/metainfo"
	"distd/internal/node"
)

func torrentVerifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check a file or folder against its torrent", ArgsUsage: "TORRENT [PATH]",
		Description: "PATH is the content, or the folder that it lies in; without it that of the torrent. The exit code is\n" +
			"65 when something is missing or differs.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "list all bad files and pieces, not the first 20 only"}, jsonFlag()},
		Action: runTorrentVerify,
	}
}

func runTorrentVerify(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args()
	if n := args.Len(); n < 1 || n > 2 {
		return usagef("torrent verify wants a torrent and a path, not %s", countText(n, "argument"))
	}
	t, err := loadTorrent(cmd, args.First())
	if err != nil {
		return err
	}
	path := args.Get(1)
	if path == "" {
		path = filepath.Dir(args.First()) // that of "-" is this folder
	}
	b := newBar(cmd.Root().ErrWriter, visible(t.Name))
	c, err := metainfo.Verify(ctx, t, path, func(done, total int64) { b.set(done, total, "") })
	b.end()
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		err = printJSON(cmd, c)
	} else {
		printCheck(cmd, c, cmd.Bool("all"))
	}
	if !c.Good && err == nil {
		return exitError(node.ExDataErr)
	}
	return err
}

// shownProblems is how many bad files, and runs of bad pieces, are listed when
// not all are asked for.
const shownProblems = 20

func printCheck(cmd *cli.Command, c *metainfo.Check, all bool) {
	if c.Good {
		printf(cmd, "good  %s: all %s in %s\n", visible(c.Path), countText(c.Pieces, "piece"), countText(c.Files, "file"))
		return
	}
	limit := shownProblems
	if all {
		limit = max(len(c.Problems), len(c.BadPieces))
	}
	printf(cmd, "BAD  %s: %d of %s, %d of %s\n", visible(c.Path), c.NumBad, countText(c.Pieces, "piece"), len(c.Problems), countText(c.Files, "file"))
	if c.NumBad > 0 {
		var ranges []string
		for _, r := range c.BadPieces[:min(limit, len(c.BadPieces))] {
			text := fmt.Sprint(r.First)
			if r.Last > r.First {
				text += fmt.Sprintf("-%d", r.Last)
			}
			ranges = append(ranges, text)
		}
		printf(cmd, "  pieces %s%s\n", strings.Join(ranges, " "), andMore(len(c.BadPieces)-len(ranges)))
	}
	for _, p := range c.Problems[:min(limit, len(c.Problems))] {
		printf(cmd, "  %s: %s\n", visible(p.Path), problemText(&p))
	}
	if n := len(c.Problems) - limit; n > 0 {
		printf(cmd, "  and %d more (-all lists them)\n", n)
	}
}

func andMore(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more ranges (-all lists them)", n)
}

func problemText(p *metainfo.FileProblem) string {
	switch p.Problem {
	case metainfo.WrongSize:
		return fmt.Sprintf("has %d bytes, not %d; %s bad", p.Size, p.Length, countText(p.Bad, "piece"))
	case metainfo.Unreadable:
		return visible("cannot be read: " + p.Error)
	case metainfo.Differs:
		return fmt.Sprintf("differs; %s bad, the first is %d", countText(p.Bad, "piece"), p.First)
	case metainfo.Unclear:
		return fmt.Sprintf("may differ; piece %d is bad, which other files have a part of", p.First)
	}
	return p.Problem
}
