package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/node"
)

func fetchCommand() *cli.Command {
	return &cli.Command{
		Name: "fetch", Usage: "download torrents, metalinks or URLs once", ArgsUsage: "TORRENT|METALINK|URL ...",
		UsageText: "distd fetch [-d DIR] [-listen ADDRESS] [-seed-ratio RATIO] [-on-bt-download-complete COMMAND] TORRENT|METALINK|URL ...",
		Description: "Each download is written beside its name and renamed when it is whole. A command that was\n" +
			"interrupted goes on where it was when it is run again.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "d", Aliases: []string{"dir"}, Usage: "`FOLDER` for the downloads", Value: "."},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` for peers: auto for the first free port from 6881 to 6999, empty for none", Value: node.AnyPort},
			&cli.StringFlag{Name: "ca", Usage: "`FILE` with CA certificates to trust besides the system's"},
			&cli.StringFlag{Name: "client-cert", Usage: "`FILE` with the certificate for servers that want one"},
			&cli.StringFlag{Name: "client-key", Usage: "`FILE` with the private key of client-cert"},
			&cli.StringFlag{Name: "auth-file", Usage: "`FILE` with user names and passwords, in the form of netrc"},
			&cli.StringFlag{Name: "proxy", Usage: "`URL` of the HTTP proxy, or none (default: what the environment says)"},
			&cli.StringFlag{Name: "seed-ratio", Usage: "seed until so many times the size was sent; 0.0 is for ever", Value: "1.0"},
			&cli.StringFlag{Name: "seed-time", Usage: "seed for so many `MINUTES` at most; 0 is not at all"},
			&cli.StringFlag{Name: "on-bt-download-complete", Aliases: []string{"on-download-complete"}, Usage: "`COMMAND` to run with three arguments: an id, the number of files, the path of the first"},
			&cli.StringFlag{Name: "encryption", Usage: "message stream encryption: off, allow or require", Value: "allow"},
			&cli.StringSliceFlag{Name: "location", Usage: "use only mirrors of this `LOCATION` of a metalink; may be repeated"},
			&cli.StringSliceFlag{Name: "exclude-location", Usage: "never use mirrors of this `LOCATION` of a metalink; may be repeated"},
			&cli.StringFlag{Name: "up", Usage: "`RATE` of sending, in bytes a second such as 10MiB, or a timetable such as \"08:00,20MiB 19:00,off\""},
			&cli.StringFlag{Name: "down", Usage: "`RATE` of receiving, or a timetable"},
			&cli.StringFlag{Name: "wan-down", Usage: "`RATE` of receiving from mirrors, or a timetable; down holds besides"},
			&cli.IntFlag{Name: "x", Aliases: []string{"max-connection-per-server"}, Usage: "connections to one mirror, at most", Value: 64},
			&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", Value: "warn"},
			jsonFlag(),
		},
		Action: runFetch,
	}
}

func runFetch(ctx context.Context, cmd *cli.Command) error {
	o, err := fetchOptions(cmd)
	if err != nil {
		return err
	}
	o.HookOutput = cmd.Root().ErrWriter
	b := newBar(cmd.Root().ErrWriter, "")
	o.Report = func(states []node.FetchState) { draw(b, states) }
	states, err := node.Fetch(ctx, o)
	b.end()
	if cmd.Bool("json") && states != nil {
		if jerr := printJSON(cmd, states); jerr != nil {
			return jerr
		}
	} else {
		for _, s := range states {
			if s.Path != "" {
				printf(cmd, "%s  %s in %.2f s (%s from mirrors, %s from peers, %s sent)\n", s.Path, humanize.IBytes(uint64(s.Size)), s.Seconds,
					humanize.IBytes(uint64(s.FromMirrors)), humanize.IBytes(uint64(s.FromPeers)), humanize.IBytes(uint64(s.Uploaded)))
			}
		}
	}
	return err
}

func fetchOptions(cmd *cli.Command) (node.FetchOptions, error) {
	o := node.FetchOptions{
		Inputs: cmd.Args().Slice(), Dir: cmd.String("d"), Listen: cmd.String("listen"), CA: cmd.String("ca"), ClientCert: cmd.String("client-cert"), ClientKey: cmd.String("client-key"),
		AuthFile: cmd.String("auth-file"), Proxy: cmd.String("proxy"), Hook: cmd.String("on-bt-download-complete"),
		Encryption: cmd.String("encryption"), MaxConns: cmd.Int("x"), Congestion: "bbr", Version: version(), SeedTime: -1,
	}
	if len(o.Inputs) == 0 {
		return o, usagef("fetch wants something to fetch: a torrent, a metalink or a URL")
	}
	ratio, err := strconv.ParseFloat(cmd.String("seed-ratio"), 64)
	if err != nil || ratio < 0 {
		return o, usagef("seed-ratio %q is not a number such as 1.0", cmd.String("seed-ratio"))
	}
	o.SeedRatio = ratio
	if text := cmd.String("seed-time"); text != "" {
		minutes, err := strconv.ParseFloat(text, 64)
		if err != nil || minutes < 0 {
			return o, usagef("seed-time %q is not a number of minutes", text)
		}
		o.SeedTime = time.Duration(minutes * float64(time.Minute))
	}
	if err := fetchLimits(cmd, &o); err != nil {
		return o, err
	}
	if (o.ClientCert == "") != (o.ClientKey == "") {
		return o, usagef("client-cert and client-key go together")
	}
	if o.MaxConns < 1 {
		return o, usagef("x must be 1 or more")
	}
	if !slices.Contains([]string{"off", "allow", "require"}, o.Encryption) {
		return o, usagef("encryption %q is none of off, allow, require", o.Encryption)
	}
	if l := cmd.String("log-level"); !slices.Contains([]string{"debug", "info", "warn", "error"}, l) {
		return o, usagef("log-level %q is none of debug, info, warn, error", l)
	}
	level := zap.NewAtomicLevel()
	setLevel(level, cmd.String("log-level"))
	o.Log = newLogger(cmd.Root().ErrWriter, "auto", level)
	return o, nil
}

// fetchLimits reads which mirrors may be used, and how fast.
func fetchLimits(cmd *cli.Command, o *node.FetchOptions) (err error) {
	o.Locations = config.Locations{Only: cmd.StringSlice("location"), Except: cmd.StringSlice("exclude-location")}
	if err := o.Locations.Check(); err != nil {
		return usagef("%w", err)
	}
	for name, to := range map[string]*config.Timetable{"up": &o.Up, "down": &o.Down, "wan-down": &o.WANDown} {
		if *to, err = config.ParseTimetable(cmd.String(name)); err != nil {
			return usagef("-%s %w", name, err)
		}
	}
	return nil
}

// draw shows all downloads in one line.
func draw(b *bar, states []node.FetchState) {
	var done, total int64
	peers := 0
	for _, s := range states {
		done, total, peers = done+s.Done, total+s.Size, peers+s.Peers
	}
	b.what = states[0].Name
	if len(states) > 1 {
		b.what = fmt.Sprintf("%d downloads", len(states))
	}
	b.set(done, total, fmt.Sprintf("  %d peers  %s", peers, states[0].State))
}
