package main

import (
	"cmp"
	"context"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/node"
)

func limitCommand() *cli.Command {
	return &cli.Command{
		Name: "limit", Usage: "show the limits of a running daemon, or change its rates until the next restart or reload",
		Flags: []cli.Flag{
			dirFlag("the node's `FOLDER`"),
			&cli.StringFlag{Name: "channel", Usage: "`NAME` of the channel whose rates to change (default: those of the node)"},
			&cli.StringFlag{Name: "up", Usage: "`RATE` of sending, in bytes a second such as 10MiB, or off"},
			&cli.StringFlag{Name: "down", Usage: "`RATE` of receiving, in bytes a second such as 10MiB, or off"},
			jsonFlag(),
		},
		Action: alone(runLimit),
	}
}

func runLimit(ctx context.Context, cmd *cli.Command) error {
	req := node.LimitRequest{Channel: cmd.String("channel")}
	for _, f := range []struct {
		name string
		to   **config.Rate
	}{{"up", &req.Up}, {"down", &req.Down}} {
		if !cmd.IsSet(f.name) {
			continue
		}
		r, err := config.ParseRate(cmd.String(f.name))
		if err != nil {
			return usagef("-%s %w", f.name, err)
		}
		*f.to = &r
	}
	if req.Channel != "" && req.Up == nil && req.Down == nil {
		return usagef("-channel needs -up or -down, the rate to set; without all three the limits are shown")
	}
	c, err := node.DialControl(cmd.String("dir"))
	if err != nil {
		return err
	}
	l, err := c.Limit(ctx, req)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, l)
	}
	printRates(cmd, l)
	printf(cmd, "peers: %d, and %d of one release; dscp: %s\n", l.MaxPeers, l.MaxPeersPerRelease, cmp.Or(l.DSCP, "the system's"))
	return nil
}

func printRates(cmd *cli.Command, l *node.Limits) {
	printf(cmd, "limits: up %v, down %v\n", config.Rate(l.Up), config.Rate(l.Down))
	for _, c := range l.Channels {
		printf(cmd, "limits of channel %s: up %v, down %v\n", c.Channel, config.Rate(c.Up), config.Rate(c.Down))
	}
}
