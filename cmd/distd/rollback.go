package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
	"distd/internal/publish"
	"distd/internal/store"
)

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "bring an earlier release of a channel back, on all nodes or on one",
		UsageText: "distd rollback [-dir=/srv/distd] -channel=web [-to=SERIAL] [-n]     on the master: all nodes\n" +
			"distd rollback -local -channel=web                                  on a seed or leaf: this node only",
		Description: "On the master's folder the content of an earlier release is published again under a new serial. Nodes\n" +
			"that keep it need not fetch it, and their hooks run as for any release. Without -to it is the newest\n" +
			"release that is older than the present content and was not taken back itself. Where a folder is watched\n" +
			"for the channel that is paused, until `distd watch resume`.\n\n" +
			"With -local the node's previous release is live again until its next release comes; no hook runs.",
		Flags: []cli.Flag{
			dirFlag("the node's `FOLDER`"),
			&cli.StringFlag{Name: "channel", Usage: "`NAME` of the channel", Required: true},
			&cli.Uint64Flag{Name: "to", Usage: "`SERIAL` of the release whose content comes back"},
			&cli.BoolFlag{Name: "n", Usage: "show what would be done and do nothing"},
			&cli.BoolFlag{Name: "local", Usage: "make the previous release live on this node only"},
			jsonFlag(),
		},
		Action: alone(runRollback),
	}
}

func runRollback(ctx context.Context, cmd *cli.Command) error {
	if cmd.Bool("local") {
		return runRollbackLocal(ctx, cmd)
	}
	if cmd.IsSet("to") && cmd.Uint64("to") == 0 {
		return usagef("-to wants the serial of a release; the first one is 1")
	}
	res, err := rollbackBy(ctx, cmd)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, res)
	}
	did, is := "rolled back", "is"
	if res.DryRun {
		did, is = "would roll back", "would be"
	}
	printf(cmd, "%s channel %s from release %d to the content of %d (%s, %s), which %s published as release %d\n",
		did, res.Channel, res.From, res.To, res.Name, humanize.IBytes(uint64(res.Size)), is, res.Serial)
	if res.Note != "" {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "note: %s\n", res.Note)
	}
	return nil
}

// rollbackBy rolls back through the master that runs on the folder, or by itself
// when none runs.
func rollbackBy(ctx context.Context, cmd *cli.Command) (*publish.RolledBack, error) {
	dir, channel, to, dry := cmd.String("dir"), cmd.String("channel"), cmd.Uint64("to"), cmd.Bool("n")
	c, err := node.DialControl(dir)
	switch {
	case err == nil:
		return c.Rollback(ctx, channel, to, dry)
	case errors.Is(err, node.ErrNoDaemon):
		return node.RollbackAlone(ctx, dir, channel, to, dry)
	}
	return nil, err
}

func runRollbackLocal(ctx context.Context, cmd *cli.Command) error {
	if cmd.IsSet("to") || cmd.Bool("n") {
		return usagef("-local goes back to the one release that was live before: leave -to and -n out")
	}
	act, err := rollbackLocalBy(ctx, cmd.String("dir"), cmd.String("channel"))
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, act)
	}
	printf(cmd, "channel %s: release %d is live again at %s, on this node and until its next release\n", act.Channel, act.Serial, act.LivePath)
	return nil
}

func rollbackLocalBy(ctx context.Context, dir, channel string) (*store.Activation, error) {
	c, err := node.DialControl(dir)
	switch {
	case err == nil:
		return c.RollbackLocal(ctx, channel)
	case errors.Is(err, node.ErrNoDaemon):
		return node.RollbackLocalAlone(ctx, dir, channel)
	}
	return nil, err
}
