package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"

	"distd/internal/node"
	"distd/internal/store"
)

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "make the previous release of a channel live again",
		Flags:  []cli.Flag{dirFlag("the node's `FOLDER`"), &cli.StringFlag{Name: "channel", Usage: "`NAME` of the channel", Required: true}, jsonFlag()},
		Action: alone(runRollback),
	}
}

func runRollback(ctx context.Context, cmd *cli.Command) error {
	act, err := rollbackBy(ctx, cmd.String("dir"), cmd.String("channel"))
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, act)
	}
	printf(cmd, "channel %s: release %s is live again at %s\n", act.Channel, act.ID, act.LivePath)
	return nil
}

func rollbackBy(ctx context.Context, dir, channel string) (*store.Activation, error) {
	c, err := node.DialControl(dir)
	if err == nil {
		return c.Rollback(ctx, channel)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	st, err := node.OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	act, err := st.Rollback(ctx, channel)
	return act, errors.Join(err, st.Close())
}
