package main

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v3"

	"distd/internal/metainfo"
	"distd/pkg/torrentfile"
)

func torrentShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show what is in torrents", ArgsUsage: "TORRENT ...",
		Description: "- reads from standard input. What distd itself would refuse is an error that says why.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "list all files, not the first 20 only"}, jsonFlag()},
		Action:      runTorrentShow,
	}
}

// shownTorrent is a torrent for machines.
type shownTorrent struct {
	Torrent string `json:"torrent"` // the file
	metainfo.Description
}

func runTorrentShow(_ context.Context, cmd *cli.Command) error {
	if !cmd.Args().Present() {
		return usagef("torrent show wants a torrent")
	}
	asJSON := cmd.Bool("json")
	out := []shownTorrent{}
	var errs []error
	for _, path := range cmd.Args().Slice() {
		t, err := loadTorrent(cmd, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s := shownTorrent{path, metainfo.Describe(t, asJSON || cmd.Bool("all"))}
		if asJSON {
			out = append(out, s)
			continue
		}
		if cmd.Args().Len() > 1 {
			printf(cmd, "%s:\n", visible(path))
		}
		printTorrent(cmd, t, &s.Description)
	}
	if asJSON {
		errs = append(errs, printJSON(cmd, out))
	}
	return errors.Join(errs...)
}

// shownFiles is how many files are listed when not all are asked for.
const shownFiles = 20

func printTorrent(cmd *cli.Command, t *torrentfile.Torrent, d *metainfo.Description) {
	line := func(name, value string) {
		if value != "" {
			printf(cmd, "%-13s %s\n", name, visible(value))
		}
	}
	yes := map[bool]string{true: "yes"}
	line("name", d.Name)
	line("infohash", d.InfoHash)
	line("magnet", d.Magnet)
	line("size", bytesText(d.Size)+" in "+countText(d.Files, "file")+map[bool]string{true: " of a folder"}[d.Tree])
	line("pieces", countText(d.Pieces, "piece")+" of "+bytesText(d.PieceLength))
	if d.Padding > 0 {
		line("padding", bytesText(d.Padding))
	}
	for i, tier := range d.Announce {
		line(map[bool]string{true: "trackers"}[i == 0], strings.Join(tier, "  "))
	}
	for i, u := range d.WebSeeds {
		line(map[bool]string{true: "web seeds"}[i == 0], u)
	}
	for i, u := range d.HTTPSeeds {
		line(map[bool]string{true: "http seeds"}[i == 0], u)
	}
	line("private", yes[d.Private])
	line("source", d.Source)
	line("comment", d.Comment)
	line("created by", d.CreatedBy)
	if d.Created != nil {
		line("created", d.Created.Format("2006-01-02 15:04:05 UTC"))
	}
	line("other keys", strings.Join(d.OtherKeys, "  "))
	if !d.Tree {
		return
	}
	printf(cmd, "files\n")
	n := 0
	for i, f := range t.Layout.Files {
		if t.Padding != nil && t.Padding[i] {
			continue
		}
		if n++; n > shownFiles && d.FileList == nil {
			printf(cmd, "  and %d more (-all lists them)\n", d.Files-shownFiles)
			break
		}
		printf(cmd, "  %10s  %s\n", bytesText(f.Length), visible(strings.TrimPrefix(f.Path, d.Name+"/")))
	}
}
