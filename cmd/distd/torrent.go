package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/metainfo"
	"distd/pkg/torrentfile"
)

func torrentCommand() *cli.Command {
	return &cli.Command{
		Name: "torrent", Usage: "make, show and check torrents of files and folders", ArgsUsage: "create|show|verify",
		HideHelpCommand: true,
		Commands:        []*cli.Command{torrentCreateCommand(), torrentShowCommand(), torrentVerifyCommand()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			word := cmd.Args().First()
			if word == "" {
				return usagef("torrent wants one of create, show, verify")
			}
			return usagef("unknown verb %q of torrent%s", word, config.Nearest(word, verbs(cmd)))
		},
	}
}

// loadTorrent reads a torrent from a file, or from standard input for "-".
func loadTorrent(cmd *cli.Command, path string) (*torrentfile.Torrent, error) {
	if path == "-" {
		return metainfo.Read(cmd.Root().Reader, "standard input")
	}
	return metainfo.Load(path)
}

// visible makes characters visible that a terminal would obey, or hide.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

func bytesText(n int64) string { return humanize.IBytes(uint64(n)) }

func countText(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
