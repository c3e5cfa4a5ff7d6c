package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"distd/internal/node"
)

func checkConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "check-config", Usage: "check the daemon's configuration and the files that it names",
		Flags:  append(daemonFlags(), jsonFlag()),
		Action: alone(runCheckConfig),
	}
}

func runCheckConfig(_ context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err == nil {
		err = node.CheckFiles(cfg)
	}
	if err != nil {
		return reportConfig(cmd, err)
	}
	if cmd.Bool("json") {
		return printJSON(cmd, cfg.Map())
	}
	printf(cmd, "the configuration of this %s is good\n", cfg.Role)
	return nil
}
