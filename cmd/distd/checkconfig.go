package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/node"
)

func checkConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "check-config", Usage: "check the daemon's configuration and the files that it names",
		Flags:  append(daemonFlags(), jsonFlag()),
		Action: alone(runCheckConfig),
	}
}

// lookupTime is how long names may be looked up for warnings.
const lookupTime = 5 * time.Second

func runCheckConfig(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err == nil {
		err = node.CheckFiles(cfg)
	}
	if err != nil {
		return reportConfig(cmd, err)
	}
	ctx, stop := context.WithTimeout(ctx, lookupTime)
	defer stop()
	for _, w := range node.ZoneWarnings(ctx, cfg) {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "warning: %s\n", w)
	}
	if cfg.Role == config.RoleLeaf && len(cfg.Seed) == 0 {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "note: no seed is set: the leaf looks for the SRV records _distd._tcp of the search domains, and relies on dht, peer and lsd\n")
	}
	if cmd.Bool("json") {
		return printJSON(cmd, cfg.Map())
	}
	printf(cmd, "the configuration of this %s is good\n", cfg.Role)
	return nil
}
