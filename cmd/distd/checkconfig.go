package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/hook"
	"distd/internal/manifest"
	"distd/internal/serve"
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
		err = checkFiles(cfg)
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

// checkFiles opens what the daemon would open at its start.
func checkFiles(cfg *config.Config) error {
	if cfg.Hook != "" {
		if err := hook.Check(cfg.Hook); err != nil {
			return err
		}
	}
	if cfg.Key != "" {
		if _, err := manifest.LoadPublicKey(cfg.Key); err != nil {
			return err
		}
	}
	if cfg.TLSCert != "" {
		if _, err := serve.LoadCert(cfg.TLSCert, cfg.TLSKey); err != nil {
			return err
		}
	}
	return nil
}
