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
		UsageText: "distd publish [-dir=/srv/distd] -channel=web PATH\ndistd publish -n -channel=web PATH      only show what would change\ndistd publish -to=s3://bucket/prefix -channel=web PATH",
		Description: "A running master of the folder does it; when none runs, this command does, and a master\n" +
			"that is started later serves the release. Publishing the same content again changes nothing.\n\n" +
			"With -to the release is put into an S3-compatible bucket too, which seeds can follow instead of a\n" +
			"master. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.",
		Flags: []cli.Flag{
			dirFlag("the master's `FOLDER`"),
			&cli.StringFlag{Name: "channel", Usage: "`NAME` of the channel", Required: true},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the release (default: the path's last element)"},
			&cli.BoolFlag{Name: "in-place", Usage: "take no copy: link the files; they must not be changed afterwards"},
			&cli.BoolFlag{Name: "n", Usage: "show what would change against the newest release, and publish nothing"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "leave out what matches the `PATTERN`, as a line of .distdignore would; may be repeated"},
			&cli.StringFlag{Name: "max-delete", Usage: "publish only if no more files than this are deleted: `NUMBER`, such as 500, or a share such as 30%, or none (default: the master's max_delete)"},
			&cli.BoolFlag{Name: "checksum", Usage: "read all files, also those whose size, inode and times are as they were at the publish before"},
			&cli.BoolFlag{Name: "md5", Usage: "also compute MD5 sums, for old metalink clients"},
			&cli.StringFlag{Name: "piece-length", Usage: "`SIZE` of a piece, a power of two (default: some 1,000 to 4,000 pieces)"},
			&cli.StringSliceFlag{Name: "announce", Usage: "tracker `URL` for the torrent, one tier each; may be repeated"},
			&cli.StringSliceFlag{Name: "mirror", Usage: "further place of the content: `[LOCATION [PREFERENCE]] URL`; may be repeated"},
			&cli.StringFlag{Name: "key-file", Usage: "`FILE` with the secret key to sign with (default: the folder's own); not with a running master"},
			&cli.StringFlag{Name: "to", Usage: "also put the release into a bucket: `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&style=path|host]`"},
			&cli.StringFlag{Name: "public-url", Usage: "with -to: `URL` under which the bucket is read, for its torrents and metalinks"},
			&cli.IntFlag{Name: "keep", Usage: "with -to: how many releases of the channel stay in the bucket, the live and the previous one in any case, `N` (0: all)"},
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
		Path: path, Channel: cmd.String("channel"), Name: cmd.String("name"), InPlace: cmd.Bool("in-place"), MD5: cmd.Bool("md5"), Checksum: cmd.Bool("checksum"), MaxDelete: cmd.String("max-delete"), Exclude: cmd.StringSlice("exclude"),
		Announce: cmd.StringSlice("announce"), Mirrors: cmd.StringSlice("mirror"), KeyFile: cmd.String("key-file"),
	}
	if text := cmd.String("piece-length"); text != "" {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > 1<<30 {
			return usagef("piece-length %q is not a size such as 256KiB", text)
		}
		req.PieceLength = int64(n)
	}
	if cmd.Bool("n") {
		return planPublish(ctx, cmd, req)
	}
	local := func(ctx context.Context, req node.PublishRequest) (*publish.Result, error) {
		b := newBar(cmd.Root().ErrWriter, filepath.Base(path))
		defer b.end()
		return publishBy(ctx, cmd.String("dir"), req, func(done, total int64) { b.set(done, total, "") })
	}
	if cmd.IsSet("to") {
		return publishTo(ctx, cmd, req, local)
	}
	if cmd.IsSet("public-url") || cmd.IsSet("keep") {
		return usagef("-public-url and -keep are for a bucket: give -to, or set them for the master")
	}
	res, err := local(ctx, req)
	if err != nil {
		return err
	}
	printNotes(cmd, res)
	if cmd.Bool("json") {
		return printJSON(cmd, res)
	}
	printPublished(cmd, res)
	return nil
}

// publishBy publishes through the master that runs on the folder, or by itself
// when none runs.
func publishBy(ctx context.Context, dir string, req node.PublishRequest, progress func(done, total int64)) (*publish.Result, error) {
	c, err := node.DialControl(dir)
	if err == nil && req.KeyFile != "" {
		return nil, usagef("a master runs on %s, which signs with its own key: leave -key-file out", dir)
	}
	if err == nil {
		return c.Publish(ctx, req, progress)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	return node.PublishAlone(ctx, dir, req, progress)
}

func printNotes(cmd *cli.Command, res *publish.Result) {
	for _, note := range res.Notes {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "note: %s\n", note)
	}
}

func printPublished(cmd *cli.Command, res *publish.Result) {
	if res.Unchanged {
		printf(cmd, "unchanged: %s is release %d of channel %s already\n", res.Name, res.Serial, res.Channel)
		return
	}
	printf(cmd, "published %s as release %d of channel %s\n  size      %s in %s, %s of %s\n  release   %s\n  infohash  %s\n  magnet    %s\n  channel   %s\n",
		res.Name, res.Serial, res.Channel, humanize.IBytes(uint64(res.Size)), count(res.Files, "file"), count(res.Pieces, "piece"), humanize.IBytes(uint64(res.PieceLength)), res.ID, res.InfoHash, res.Magnet, res.ChannelLink)
}
