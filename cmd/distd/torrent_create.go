package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/metainfo"
)

func torrentCreateCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "make a torrent of each file or folder, in place of btmakemetafile", ArgsUsage: "[TRACKER-URL] PATH ...",
		UsageText: "distd torrent create http://bt.local.dc:6969/announce site.tar",
		Description: "The torrent is written to PATH.torrent, or to -o, and replaces what was there. Tracker and paths may\n" +
			"stand in any order. As with btmakemetafile names that begin with a dot, core and CVS are left out,\n" +
			"symlinks are followed, and the same content gives the same infohash.",
		DisableSliceFlagSeparator: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"target"}, Usage: "`FILE` or folder for the torrent; - for standard output"},
			&cli.StringSliceFlag{Name: "announce", Usage: "further tracker `URL`, one tier each, or several of a tier with commas; may be repeated"},
			&cli.StringSliceFlag{Name: "web-seed", Usage: "`URL` of the content on a web server (BEP 19); may be repeated"},
			&cli.StringFlag{Name: "comment", Usage: "`TEXT` for people"},
			&cli.StringFlag{Name: "piece-length", Usage: "`SIZE` of a piece, a power of two (default: 32 KiB to 2 MiB, by the size)"},
			&cli.BoolFlag{Name: "private", Usage: "ask clients to use these trackers only; makes another infohash"},
			&cli.StringFlag{Name: "source", Usage: "`TEXT` that makes another infohash for the same content"},
			&cli.BoolFlag{Name: "no-date", Usage: "leave out when the torrent was made, so that the same content makes the same file"},
			&cli.StringFlag{Name: "announce_list", Usage: "as in btmakemetafile: tracker `URLS`, tiers with | between and trackers of a tier with commas"},
			&cli.StringFlag{Name: "httpseeds", Usage: "as in btmakemetafile: `URLS` of seeds by BEP 17 with | between; few clients read it"},
			&cli.IntFlag{Name: "piece_size_pow2", Usage: "as in btmakemetafile: a piece is 2 to the power `N` bytes long (0: by the size)"},
			&cli.StringFlag{Name: "filesystem_encoding", Usage: "as in btmakemetafile, without effect: `NAME`; names are UTF-8"},
			jsonFlag(),
		},
		Action: runTorrentCreate,
	}
}

// madeTorrent is what was made, for machines.
type madeTorrent struct {
	Path    string `json:"path"`
	Torrent string `json:"torrent"` // the file that was written
	Skipped int    `json:"skipped"`
	metainfo.Description
}

func runTorrentCreate(ctx context.Context, cmd *cli.Command) error {
	o, paths, err := createOptions(cmd)
	if err != nil {
		return err
	}
	targets, err := createTargets(cmd.String("o"), paths)
	if err != nil {
		return createError(err)
	}
	if os.Getenv("GOGC") == "" {
		// A list of files is all that takes memory here, and it is kept.
		debug.SetGCPercent(200)
	}
	made := []madeTorrent{}
	for i, path := range paths {
		var m *madeTorrent
		if m, err = createOne(ctx, cmd, o, path, targets[i]); err != nil {
			break
		}
		made = append(made, *m)
	}
	if cmd.Bool("json") {
		err = errors.Join(err, printJSON(cmd, made))
	}
	return createError(err)
}

// createError tells mistakes on the command line from others.
func createError(err error) error {
	if errors.Is(err, metainfo.ErrOptions) {
		return usageError{err}
	}
	return err
}

func createOne(ctx context.Context, cmd *cli.Command, o metainfo.Options, path, target string) (*madeTorrent, error) {
	b := newBar(cmd.Root().ErrWriter, visible(filepath.Base(path)))
	o.Path, o.Progress = path, func(done, total int64) { b.set(done, total, "") }
	t, err := metainfo.Create(ctx, o)
	b.end()
	if err != nil {
		return nil, err
	}
	data, err := t.Encode()
	if err != nil {
		return nil, err
	}
	if t.Skipped > 0 {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "note: %s left out of %s: what begins with a dot, core and CVS\n", countText(t.Skipped, "name"), visible(path))
	}
	m := &madeTorrent{Path: path, Torrent: target, Skipped: t.Skipped, Description: metainfo.Describe(t.Torrent, false)}
	if target == "-" {
		_, err := cmd.Root().Writer.Write(data)
		return m, err
	}
	if err := metainfo.Write(target, data); err != nil {
		return nil, err
	}
	if !cmd.Bool("json") {
		printf(cmd, "%s\n  size      %s in %s, %s of %s\n  infohash  %s\n", visible(target), bytesText(m.Size), countText(m.Files, "file"),
			countText(m.Pieces, "piece"), bytesText(m.PieceLength), m.InfoHash)
	}
	return m, nil
}

// createOptions reads the command line: what to put into each torrent, and of
// what they are to be made.
func createOptions(cmd *cli.Command) (o metainfo.Options, paths []string, err error) {
	tracker := ""
	for _, arg := range cmd.Args().Slice() {
		switch {
		case !strings.Contains(arg, "://"):
			paths = append(paths, arg)
		case tracker != "":
			return o, nil, usagef("%q and %q are two trackers: give the second with -announce", tracker, strings.TrimSpace(arg))
		default:
			tracker = strings.TrimSpace(arg)
		}
	}
	if len(paths) == 0 {
		return o, nil, usagef("torrent create wants a file or folder")
	}
	o = metainfo.Options{
		Private: cmd.Bool("private"), Source: cmd.String("source"), WebSeeds: cmd.StringSlice("web-seed"),
		HTTPSeeds: fields(cmd.String("httpseeds"), "|"), Comment: cmd.String("comment"),
	}
	if !cmd.Bool("no-date") {
		o.Created = time.Now()
	}
	// In a list of tiers the single tracker of old counts for old clients only.
	if list := fields(cmd.String("announce_list"), "|"); len(list) > 0 {
		o.FirstTracker = tracker
		for _, tier := range list {
			o.Announce = append(o.Announce, fields(tier, ","))
		}
	} else if tracker != "" {
		o.Announce = [][]string{{tracker}}
	}
	for _, tier := range cmd.StringSlice("announce") {
		o.Announce = append(o.Announce, fields(tier, ","))
	}
	if name := cmd.String("filesystem_encoding"); name != "" {
		_, _ = fmt.Fprintf(cmd.Root().ErrWriter, "warning: -filesystem_encoding=%s has no effect: names are UTF-8\n", visible(name))
	}
	o.PieceLength, err = pieceLength(cmd)
	return o, paths, err
}

// fields cuts a list, which may be empty.
func fields(list, sep string) []string {
	if strings.TrimSpace(list) == "" {
		return nil
	}
	out := strings.Split(list, sep)
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// pieceLength is the piece length that is asked for, in bytes; 0 for none.
func pieceLength(cmd *cli.Command) (int64, error) {
	text, power := cmd.String("piece-length"), cmd.Int("piece_size_pow2")
	switch {
	case text != "" && power != 0:
		return 0, usagef("-piece-length and -piece_size_pow2 say the same: give one of them")
	case power < 0 || power > 40:
		return 0, usagef("-piece_size_pow2=%s is not a power of two that a piece's length can have, such as 18", strconv.Itoa(power))
	case power != 0:
		return 1 << power, nil
	case text == "":
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<40 {
		return 0, usagef("-piece-length=%q is not a size such as 256KiB", text)
	}
	return int64(n), nil
}

// createTargets says where each torrent goes, and that nothing stands in their way.
func createTargets(target string, paths []string) ([]string, error) {
	if target == "-" {
		if len(paths) > 1 {
			return nil, usagef("one torrent alone can go to standard output, not %d", len(paths))
		}
		return []string{target}, nil
	}
	if st, err := os.Stat(target); len(paths) > 1 && target != "" && (err != nil || !st.IsDir()) {
		return nil, usagef("%d torrents cannot all be %q: give a folder that is there", len(paths), target)
	}
	var out []string
	taken := map[string]string{}
	for _, path := range paths {
		to, err := metainfo.Output(path, target)
		if err != nil {
			return nil, err
		}
		if other, ok := taken[to]; ok {
			return nil, usagef("the torrents of %q and %q would both be %q", other, path, to)
		}
		taken[to] = path
		for _, source := range paths {
			if err := metainfo.CheckOutput(to, source); err != nil {
				return nil, err
			}
		}
		out = append(out, to)
	}
	return out, nil
}
