package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
)

func fetchCommand() *cli.Command {
	return &cli.Command{
		Name: "fetch", Usage: "download torrents, metalinks, magnet links or URLs once, as aria2c does", ArgsUsage: "TORRENT|METALINK|MAGNET|URL ...",
		UsageText: "distd fetch [-d DIR] [-listen ADDRESS] [-seed-ratio RATIO] [-on-bt-download-complete COMMAND] TORRENT|METALINK|MAGNET|URL ...",
		Description: "A magnet link of a channel (xs=urn:btpk) fetches its newest release, by a DHT (-dht).\n" +
			"Each download is written beside its name and renamed when it is whole. A command that was\n" +
			"interrupted goes on where it was when it is run again. URLs of one name are mirrors of one file.\n" +
			"Options of aria2c that are not needed here are passed over, with the reason.",
		Flags:  slices.Concat(fetchFlags(), fetchServerFlags(), fetchLimitFlags(), fetchHookFlags()),
		Action: runFetch,
	}
}

// fetchFlags say what is fetched, and where to.
func fetchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "d", Aliases: []string{"dir"}, Usage: "`FOLDER` for the downloads", Value: "."},
		&cli.StringFlag{Name: "o", Aliases: []string{"out"}, Usage: "`NAME` of the file that URLs name; all of them are its mirrors then"},
		&cli.StringFlag{Name: "i", Aliases: []string{"input-file"}, Usage: "`FILE` with what to fetch, a line each, with tabs between mirrors of one file; - is standard input"},
		&cli.StringSliceFlag{Name: "T", Aliases: []string{"torrent-file", "M", "metalink-file"}, Usage: "torrent or metalink `FILE`, the same as an argument"},
		&cli.StringFlag{Name: "select-file", Usage: "fetch only these files of a torrent or metalink, counted from 1, such as `1,3,5-8`"},
		&cli.StringFlag{Name: "checksum", Usage: "what the file that URLs name must have, as `TYPE=DIGEST`: sha-512, sha-256, sha-1 or md5"},
		&cli.BoolFlag{Name: "V", Aliases: []string{"check-integrity"}, Usage: "hash all that is there already, and fetch what is not as it should be"},
		&cli.BoolFlag{Name: "c", Aliases: []string{"continue"}, Usage: "take a file that is there and has the right size for whole where no hash is known; a download goes on where it was in any case"},
		&cli.BoolFlag{Name: "follow", Usage: "stay, and fetch each new version of the torrent or metalink at the URL, or each new release of the channel whose link it is"},
		&cli.DurationFlag{Name: "follow-interval", Usage: "`TIME` between two looks for a new version, such as 30s; a distd, and the DHT, tell of one at once", Value: time.Minute},
		&cli.BoolFlag{Name: "allow-overwrite", Usage: "replace a file in the way, whatever it is, when the download is whole"},
		&cli.IntFlag{Name: "j", Aliases: []string{"max-concurrent-downloads"}, Usage: "downloads at once; those that only seed do not count", Value: 5},
		&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` for peers: auto for the first free port from 6881 to 6999, empty for none", Value: node.AnyPort},
		&cli.StringFlag{Name: "listen-port", Usage: "`PORT` for peers, as aria2c has it: a port or a range such as 6881-6999, of which the first free one is taken"},
		&cli.StringSliceFlag{Name: "dht", Aliases: []string{"dht-entry-point", "dht-entry-point6"}, Usage: "HOST:PORT of a `NODE` of the DHT, such as a seed's peer address, to find peers without a tracker; off for no DHT, public for the world's; may be repeated"},
		&cli.BoolFlag{Name: "enable-dht", Usage: "take part in a DHT when a node of one is known, from -dht, a magnet link's x.pe or -dht-file-path", Value: true},
		&cli.StringFlag{Name: "dht-listen-port", Usage: "UDP `PORT` of the DHT, or a range of which the first free one is taken (default: that of the peers)"},
		&cli.StringFlag{Name: "dht-file-path", Usage: "`FILE` that keeps the nodes of the DHT for the next run"},
		&cli.BoolFlag{Name: "lsd", Aliases: []string{"bt-enable-lpd"}, Usage: "find peers on the same link by multicast (BEP 14)"},
		&cli.StringFlag{Name: "seed-ratio", Usage: "seed until so many times the size was sent; 0.0 is for ever", Value: "1.0"},
		&cli.StringFlag{Name: "seed-time", Usage: "seed for so many `MINUTES` at most; 0 is not at all"},
		&cli.StringFlag{Name: "encryption", Usage: "message stream encryption: off, allow or require", Value: "allow"},
		&cli.StringSliceFlag{Name: "bt-tracker", Usage: "`URL` of a tracker to announce torrents to besides their own"},
		&cli.IntFlag{Name: "bt-stop-timeout", Usage: "end a download with an error when nothing has come for so many `SECONDS`; 0 is never"},
		&cli.BoolFlag{Name: "q", Aliases: []string{"quiet"}, Usage: "show neither progress nor results"},
		&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", Value: "warn"},
		jsonFlag(),
	}
}

// fetchServerFlags say how servers are spoken to.
func fetchServerFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "ca", Aliases: []string{"ca-certificate"}, Usage: "`FILE` with CA certificates to trust besides the system's"},
		&cli.BoolFlag{Name: "check-certificate", Usage: "check servers' certificates; it cannot be switched off, see ca", Value: true},
		&cli.StringFlag{Name: "client-cert", Aliases: []string{"certificate"}, Usage: "`FILE` with the certificate for servers that want one"},
		&cli.StringFlag{Name: "client-key", Aliases: []string{"private-key"}, Usage: "`FILE` with the private key of client-cert"},
		&cli.StringFlag{Name: "auth-file", Usage: "`FILE` with user names and passwords, in the form of netrc"},
		&cli.StringFlag{Name: "proxy", Aliases: []string{"all-proxy"}, Usage: "`URL` of the HTTP proxy, or none (default: what the environment says)"},
		&cli.StringSliceFlag{Name: "zone-net", Usage: "`NETWORK` in which peers may be, such as 10.1.0.0/16; no others are dialled, accepted or named to others (default: all); may be repeated"},
		&cli.BoolFlag{Name: "disable-ipv6", Usage: "use no IPv6, for servers, trackers and peers"},
		&cli.StringSliceFlag{Name: "location", Usage: "use only mirrors of this `LOCATION` of a metalink; may be repeated"},
		&cli.StringSliceFlag{Name: "exclude-location", Usage: "never use mirrors of this `LOCATION` of a metalink; may be repeated"},
		&cli.StringSliceFlag{Name: "metalink-location", Usage: "use mirrors of this `LOCATION` before others; may be repeated"},
		&cli.IntFlag{Name: "x", Aliases: []string{"max-connection-per-server"}, Usage: "connections to one mirror, at most", Value: 64},
		&cli.IntFlag{Name: "s", Aliases: []string{"split"}, Usage: "connections to all mirrors of a download, at most; 0 is as many as help"},
		&cli.StringFlag{Name: "k", Aliases: []string{"min-split-size"}, Usage: "no more connections than one for each `SIZE` of a file, such as 20M"},
	}
}

// fetchLimitFlags say how fast.
func fetchLimitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "up", Usage: "`RATE` of sending, in bytes a second such as 10MiB, or a timetable such as \"08:00,20MiB 19:00,off\""},
		&cli.StringFlag{Name: "down", Usage: "`RATE` of receiving, or a timetable"},
		&cli.StringFlag{Name: "wan-down", Usage: "`RATE` of receiving from mirrors, or a timetable; down holds besides"},
		&cli.StringFlag{Name: "max-overall-upload-limit", Aliases: []string{"u", "max-upload-limit"}, Usage: "up as aria2c has it, such as 512K or 10M, of all downloads together"},
		&cli.StringFlag{Name: "max-overall-download-limit", Aliases: []string{"max-download-limit"}, Usage: "down as aria2c has it, such as 512K or 10M, of all downloads together"},
	}
}

// fetchHookFlags name programs to run.
func fetchHookFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "on-bt-download-complete", Usage: "`COMMAND` to run when a download is whole, with three arguments: an id, the number of files, the path of the first"},
		&cli.StringFlag{Name: "on-download-complete", Usage: "`COMMAND` to run when a download has ended well, seeding included"},
		&cli.StringFlag{Name: "on-download-error", Usage: "`COMMAND` to run when a download has failed"},
		&cli.StringFlag{Name: "on-download-start", Usage: "`COMMAND` to run when a download begins"},
		&cli.StringFlag{Name: "on-download-stop", Usage: "`COMMAND` to run when a download has ended and none of the two above is given for it"},
	}
}

func runFetch(ctx context.Context, cmd *cli.Command) error {
	o, err := fetchOptions(cmd)
	if err != nil {
		return err
	}
	o.HookOutput = cmd.Root().ErrWriter
	b := newBar(cmd.Root().ErrWriter, "")
	quiet := cmd.Bool("q")
	if cmd.Bool("follow") {
		return node.Follow(ctx, o, func(states []node.FetchState) {
			switch {
			case cmd.Bool("json"):
				_ = printJSON(cmd, states)
			case !quiet:
				printStates(cmd, states)
			}
		})
	}
	if !quiet {
		o.Report = func(states []node.FetchState) { draw(b, states) }
	}
	states, err := node.Fetch(ctx, o)
	b.end()
	switch {
	case cmd.Bool("json") && states != nil:
		if jerr := printJSON(cmd, states); jerr != nil {
			return jerr
		}
	case !quiet:
		printStates(cmd, states)
	}
	return err
}

func printStates(cmd *cli.Command, states []node.FetchState) {
	for _, s := range states {
		if s.Path != "" {
			printf(cmd, "%s  %s in %.2f s (%s from mirrors, %s from peers, %s sent)\n", s.Path, humanize.IBytes(uint64(s.Size)), s.Seconds,
				humanize.IBytes(uint64(s.FromMirrors)), humanize.IBytes(uint64(s.FromPeers)), humanize.IBytes(uint64(s.Uploaded)))
		}
	}
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
	note := fmt.Sprintf("  %s  %s", count(peers, "peer"), states[0].State)
	switch {
	case total > 0 || states[0].State == "done":
		b.set(done, total, note)
	case states[0].State != "failed": // the error says that
		b.unsized(note)
	}
}
