package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
	"distd/internal/publish"
)

func publishCommand() *cli.Command {
	return &cli.Command{
		Name: "publish", Usage: "publish a file or folder as the next release of a channel", ArgsUsage: "PATH",
		UsageText: "distd publish [-dir=/srv/distd] -channel=web PATH",
		Description: "A running master of the folder does it; when none runs, this command does, and a master\n" +
			"that is started later serves the release. Publishing the same content again changes nothing.",
		Flags: []cli.Flag{
			dirFlag("the master's `FOLDER`"),
			&cli.StringFlag{Name: "channel", Usage: "`NAME` of the channel", Required: true},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the release (default: the path's last element)"},
			&cli.BoolFlag{Name: "in-place", Usage: "take no copy: link the files; they must not be changed afterwards"},
			&cli.BoolFlag{Name: "md5", Usage: "also compute MD5 sums, for old metalink clients"},
			&cli.StringFlag{Name: "piece-length", Usage: "`SIZE` of a piece, a power of two (default: some 1,000 to 4,000 pieces)"},
			&cli.StringSliceFlag{Name: "announce", Usage: "tracker `URL` for the torrent, one tier each; may be repeated"},
			&cli.StringSliceFlag{Name: "mirror", Usage: "further place of the content: `[LOCATION [PREFERENCE]] URL`; may be repeated"},
			jsonFlag(),
		},
		Action: runPublish,
	}
}

func runPublish(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return usagef("publish wants one PATH, not %d", cmd.Args().Len())
	}
	path, err := filepath.Abs(cmd.Args().First())
	if err != nil {
		return err
	}
	req := node.PublishRequest{
		Path: path, Channel: cmd.String("channel"), Name: cmd.String("name"), InPlace: cmd.Bool("in-place"), MD5: cmd.Bool("md5"),
		Announce: cmd.StringSlice("announce"), Mirrors: cmd.StringSlice("mirror"),
	}
	if text := cmd.String("piece-length"); text != "" {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > 1<<30 {
			return usagef("piece-length %q is not a size such as 256KiB", text)
		}
		req.PieceLength = int64(n)
	}
	b := newBar(cmd.Root().ErrWriter, filepath.Base(path))
	res, err := publishBy(ctx, cmd.String("dir"), req, func(done, total int64) { b.set(done, total, "") })
	b.end()
	if err != nil {
		return err
	}
	for _, note := range res.Notes {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "note: %s\n", note)
	}
	return printPublished(cmd, res)
}

// publishBy publishes through the master that runs on the folder, or by itself
// when none runs.
func publishBy(ctx context.Context, dir string, req node.PublishRequest, progress func(done, total int64)) (*publish.Result, error) {
	c, err := node.DialControl(dir)
	if err == nil {
		return c.Publish(ctx, req, progress)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	return node.PublishAlone(ctx, dir, req, progress)
}

func printPublished(cmd *cli.Command, res *publish.Result) error {
	if cmd.Bool("json") {
		return printJSON(cmd, res)
	}
	if res.Unchanged {
		printf(cmd, "unchanged: %s is release %d of channel %s already\n", res.Name, res.Serial, res.Channel)
		return nil
	}
	printf(cmd, "published %s as release %d of channel %s\n  size      %s in %d files, %d pieces of %s\n  release   %s\n  infohash  %s\n",
		res.Name, res.Serial, res.Channel, humanize.IBytes(uint64(res.Size)), res.Files, res.Pieces, humanize.IBytes(uint64(res.PieceLength)), res.ID, res.InfoHash)
	return nil
}
