package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"distd/internal/bttrack"
	"distd/internal/node"
)

func trackerCommand() *cli.Command {
	var flags []cli.Flag
	for _, f := range bttrack.Flags() {
		usage := f.Usage
		if f.Idle != "" {
			usage += ": " + f.Idle
		}
		flags = append(flags, &cli.StringFlag{Name: f.Name, Usage: usage, Value: f.Default})
	}
	flags = append(flags, &cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", Value: "info"})
	return &cli.Command{
		Name: "tracker", Usage: "run a tracker on its own, with bttrack's options",
		UsageText: "distd tracker -dfile FILE [-port PORT] [-reannounce_interval SECONDS] [-allowed_dir FOLDER] [flags]",
		Description: "It takes the place of BitTornado's bttrack: every option takes one value, as there. SIGHUP opens the\n" +
			"log file again and reads folder and lists.",
		Flags:  flags,
		Action: alone(runTracker),
	}
}

func runTracker(ctx context.Context, cmd *cli.Command) (err error) {
	if cmd.NumFlags() == 0 {
		return cli.ShowSubcommandHelp(cmd)
	}
	o, err := bttrack.ParseOptions(func(name string) (string, bool) { return cmd.String(name), cmd.IsSet(name) })
	if err != nil {
		return usagef("%w", err)
	}
	if l := cmd.String("log-level"); !slices.Contains([]string{"debug", "info", "warn", "error"}, l) {
		return usagef("log-level %q is none of debug, info, warn, error", l)
	}
	out := cmd.Root().ErrWriter
	var file *bttrack.LogFile
	if o.Logfile != "" && o.Logfile != "-" {
		if file, err = bttrack.OpenLog(o.Logfile); err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // each line was written at once
		out = io.Writer(file)
	}
	level := zap.NewAtomicLevel()
	setLevel(level, cmd.String("log-level"))
	log := newLogger(out, "auto", level)
	if _, err := os.Stat(filepath.Dir(o.Dfile)); errors.Is(err, fs.ErrNotExist) {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "distd: dfile %s: its folder is not there: make it first\n", o.Dfile)
		return exitError(node.ExCantCreat)
	}
	t, err := bttrack.New(o, version(), log)
	if err != nil {
		return err
	}
	defer onHangup(func() { reloadTracker(t, file, log) })()
	return t.Run(ctx)
}

func reloadTracker(t *bttrack.Tracker, file *bttrack.LogFile, log *zap.Logger) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+"\n"+monotonic())
	defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }()
	if file != nil {
		if err := file.Reopen(); err != nil {
			log.Error("log file cannot be opened again; the old one goes on", zap.Error(err))
		}
	}
	t.Reload()
	log.Info("reads folder and lists again")
}
