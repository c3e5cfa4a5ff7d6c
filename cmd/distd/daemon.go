package main

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/node"
)

// configFlag names the configuration file; it is the one flag that is not a
// setting itself.
const configFlag = "config"

// daemonFlags makes a flag of every setting.
func daemonFlags() []cli.Flag {
	flags := []cli.Flag{&cli.StringFlag{Name: configFlag, Usage: "configuration `FILE` (default: " + config.DefaultFile + " if it exists)", Sources: cli.EnvVars("DISTD_CONFIG"), Local: true}}
	for _, s := range config.Settings() {
		usage := s.Usage
		if s.Default != "" {
			usage += " (default: " + s.Default + ")"
		}
		switch s.Kind {
		case config.List:
			flags = append(flags, &cli.StringSliceFlag{Name: s.Flag(), Usage: usage + "; may be repeated", Local: true})
		case config.Bool:
			flags = append(flags, &cli.BoolFlag{Name: s.Flag(), Usage: usage, Local: true})
		default:
			flags = append(flags, &cli.StringFlag{Name: s.Flag(), Usage: usage, Local: true})
		}
	}
	return flags
}

// loadConfig reads the configuration with the flags that were given.
func loadConfig(cmd *cli.Command) (*config.Config, error) {
	given := map[string]any{}
	for _, s := range config.Settings() {
		switch {
		case !cmd.IsSet(s.Flag()):
		case s.Kind == config.List:
			given[s.Key] = cmd.StringSlice(s.Flag())
		case s.Kind == config.Bool:
			given[s.Key] = cmd.Bool(s.Flag())
		default:
			given[s.Key] = cmd.String(s.Flag())
		}
	}
	cfg, err := config.Load(config.Sources{Flags: given, Env: os.Environ(), File: cmd.String(configFlag)})
	if err != nil {
		return nil, configError{err}
	}
	return cfg, nil
}

// configError is a configuration that cannot work.
type configError struct{ err error }

func (e configError) Error() string { return e.err.Error() }
func (e configError) Unwrap() error { return e.err }

func reportConfig(cmd *cli.Command, err error) error {
	_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "distd: %v\n", err)
	return exitError(node.ExConfig)
}

// daemon runs a node until a signal or an error ends it.
func daemonMain(ctx context.Context, cmd *cli.Command) error {
	if word := cmd.Args().First(); word != "" {
		return usagef("unknown verb %q%s", word, config.Nearest(word, verbs(cmd.Root())))
	}
	if cmd.NumFlags() == 0 && os.Getenv("DISTD_ROLE") == "" {
		if _, err := os.Stat(config.DefaultFile); err != nil {
			return cli.ShowRootCommandHelp(cmd)
		}
	}
	cfg, err := loadConfig(cmd)
	if err != nil {
		return reportConfig(cmd, err)
	}
	level := zap.NewAtomicLevel()
	log := newLogger(cmd.Root().ErrWriter, cfg.LogFormat, level)
	defer func() { _ = log.Sync() }()
	setLevel(level, cfg.LogLevel)
	n, err := node.New(cfg, version(), log)
	if err != nil {
		return err
	}
	defer onHangup(func() { reload(cmd, n, level, log) })()
	return n.Run(ctx)
}

func reload(cmd *cli.Command, n *node.Node, level zap.AtomicLevel, log *zap.Logger) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+"\n"+monotonic())
	defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }()
	cfg, err := loadConfig(cmd)
	if err == nil {
		err = n.Reload(cfg)
	}
	if err != nil {
		log.Error("reload failed; the settings stay as they were", zap.Error(err))
		return
	}
	setLevel(level, cfg.LogLevel)
	log.Info("reloaded the configuration")
}

func verbs(root *cli.Command) []string {
	var names []string
	for _, c := range root.Commands {
		names = append(names, c.Name)
	}
	return names
}
