package main

import (
	"context"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"distd/internal/node"
)

// publishTo publishes in the folder, and then puts the release into the bucket
// of -to.
func publishTo(ctx context.Context, cmd *cli.Command, req node.PublishRequest, local node.PublishFunc) error {
	if cmd.Int("keep") < 0 {
		return usagef("keep must not be negative")
	}
	var b *bar // the upload begins after the rest
	res, err := node.PublishToBucket(ctx, cmd.String("dir"), req, node.BucketRequest{
		To: cmd.String("to"), PublicURL: cmd.String("public-url"), Keep: cmd.Int("keep"), Version: version(),
		Log: newLogger(cmd.Root().ErrWriter, "auto", zap.NewAtomicLevelAt(zap.WarnLevel)),
	}, local, func(done, total int64) {
		if b == nil {
			b = newBar(cmd.Root().ErrWriter, "upload of "+filepath.Base(req.Path))
		}
		b.set(done, total, "")
	})
	if b != nil {
		b.end()
	}
	if err != nil {
		return err
	}
	printNotes(cmd, res.Result)
	if cmd.Bool("json") {
		return printJSON(cmd, res)
	}
	printPublished(cmd, res.Result)
	printf(cmd, "  bucket    %d objects with %s sent", res.Bucket.Objects, humanize.IBytes(uint64(res.Bucket.Bytes)))
	if n := len(res.Bucket.Removed); n > 0 {
		printf(cmd, ", %d old releases removed", n)
	}
	printf(cmd, "\n")
	return nil
}
