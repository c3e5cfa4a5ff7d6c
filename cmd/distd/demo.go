package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"distd/internal/demo"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "run the main job on this machine: a master, two datacenters, a real file, a hook",
		ArgsUsage: "[PATH]",
		Description: "Publishes the file at PATH, or a tar made for it, twice, and shows how it reaches every leaf.\n" +
			"The exit code is not 0 if a leaf's file differs or a hook did not run exactly once.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "leaves", Usage: "leaves in each datacenter", Value: 3},
			&cli.IntFlag{Name: "datacenters", Usage: "datacenters", Value: 2},
			&cli.StringFlag{Name: "dir", Usage: "working `FOLDER` (default: a temporary one)"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the nodes' folders and logs there"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after this time", Value: 5 * time.Minute},
		},
		Action: runDemo,
	}
}

func runDemo(ctx context.Context, cmd *cli.Command) error {
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	o := demo.Options{
		Bin: bin, Dir: cmd.String("dir"), Keep: cmd.Bool("keep"), Datacenters: cmd.Int("datacenters"), Leaves: cmd.Int("leaves"),
		Out: cmd.Root().Writer, Terminal: isTerminal(cmd.Root().Writer), Timeout: cmd.Duration("timeout"),
	}
	if o.Leaves < 1 || o.Leaves > 200 || o.Datacenters < 1 || o.Datacenters > 200 {
		return usagef("the demo runs 1 to 200 datacenters of 1 to 200 leaves")
	}
	if o.Dir != "" {
		o.Keep = true
	}
	if cmd.Args().Len() > 1 {
		return usagef("demo takes one PATH, not %d", cmd.Args().Len())
	}
	if cmd.Args().Present() {
		if o.Payload, err = filepath.Abs(cmd.Args().First()); err != nil {
			return err
		}
	}
	return demo.Run(ctx, o)
}
