package main

import (
	"cmp"
	"context"
	"fmt"

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
			&cli.StringFlag{Name: "up", Usage: "`RATE` of sending, in bytes a second such as 10MiB, or off, or a timetable such as \"08:00,20MiB 19:00,off\""},
			&cli.StringFlag{Name: "down", Usage: "`RATE` of receiving, or a timetable"},
			&cli.StringFlag{Name: "wan-down", Usage: "`RATE` of receiving from mirrors, or a timetable; down holds besides"},
			jsonFlag(),
		},
		Action: alone(runLimit),
	}
}

func runLimit(ctx context.Context, cmd *cli.Command) error {
	req := node.LimitRequest{Channel: cmd.String("channel")}
	for _, f := range []struct {
		name string
		to   **config.Timetable
	}{{"up", &req.Up}, {"down", &req.Down}, {"wan-down", &req.WANDown}} {
		if !cmd.IsSet(f.name) {
			continue
		}
		t, err := config.ParseTimetable(cmd.String(f.name))
		if err != nil {
			return usagef("-%s %w", f.name, err)
		}
		*f.to = &t
	}
	if req.Channel != "" && req.WANDown != nil {
		return usagef("-wan-down is of the node, and cannot be set for a channel")
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
	printf(cmd, "limits: up %v, down %v, wan_down %v\n", config.Rate(l.Up), config.Rate(l.Down), config.Rate(l.WANDown))
	for _, c := range l.Channels {
		printf(cmd, "limits of channel %s: up %v, down %v\n", c.Channel, config.Rate(c.Up), config.Rate(c.Down))
	}
	for _, t := range l.Timetables {
		printf(cmd, "%s\n", timetable(&t))
	}
}

// timetable says which entry of a timetable holds, and when the next one comes.
func timetable(t *node.TimetableStatus) string {
	of := t.Limit
	if t.Channel != "" {
		of += " of channel " + t.Channel
	}
	const layout = "Mon 2006-01-02 15:04 MST"
	return fmt.Sprintf("timetable of %s (%s): %s holds since %s; %s comes at %s", of, t.Timetable, t.Entry, t.Since.Local().Format(layout), t.Next, t.NextAt.Local().Format(layout))
}
