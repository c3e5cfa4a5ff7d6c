package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/node"
	"distd/internal/watch"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "show what a master publishes by itself, or pause, resume or hurry it", ArgsUsage: "[pause|resume|now [CHANNEL]]",
		Description: "Without an argument it shows the watched folders. pause and resume hold until the opposite is\n" +
			"said, restarts included. now publishes without waiting for a folder to settle, in a pause too;\n" +
			"a file that is open for writing is waited for all the same.",
		Flags:  []cli.Flag{dirFlag("the master's `FOLDER`"), jsonFlag()},
		Action: runWatch,
	}
}

func runWatch(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args()
	req := node.WatchRequest{Action: args.Get(0), Channel: args.Get(1)}
	actions := []string{node.WatchPause, node.WatchResume, node.WatchNow}
	switch {
	case args.Len() > 2:
		return usagef("watch takes an action and a channel, but %q is given", args.Get(2))
	case req.Action != "" && !slices.Contains(actions, req.Action):
		return usagef("watch %q is none of pause, resume, now%s", req.Action, config.Nearest(req.Action, actions))
	}
	c, err := node.DialControl(cmd.String("dir"))
	if err != nil {
		return err
	}
	list, err := c.Watch(ctx, req)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, list)
	}
	printWatches(cmd, list)
	return nil
}

func printWatches(cmd *cli.Command, list []watch.Status) {
	for _, w := range list {
		printf(cmd, "watch %s %s: %s\n", w.Channel, w.Path, w.String())
		if w.Last != nil {
			last := *w.Last
			if last.Error != "" && last.Error == w.Problem {
				last.Error = "not published, as above" // it may be long
			}
			printf(cmd, "  last at %s\n", &last)
		}
	}
}
