package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v3"

	"distd/internal/describe"
	"distd/internal/node"
	"distd/pkg/metalink"
)

func metalinkCommand() *cli.Command {
	return &cli.Command{
		Name: "metalink", Usage: "make a metalink of files, with mirrors read from standard input", ArgsUsage: "FILE ...",
		UsageText: "echo 'external 100 https % https://bt.example' | distd metalink -d sha256 -d sha1pieces FILE ... > FILE.metalink",
		Description: "Takes the flags and the input of the metalink program and writes what it writes. A mirror line is\n" +
			"[LOCATION [PREFERENCE [TYPE]] %] URL, with a preference from 1 to 100, the best. The name of each file\n" +
			"is appended to the URL, and .torrent too where the type is bittorrent. Folders, *.metalink and *.meta4\n" +
			"are passed over.\n\n" +
			"Digests are " + strings.Join(describe.DigestNames(), ", ") + ";\nthe last two are accepted and left out.",
		DisableSliceFlagSeparator: true, // names of files may have commas
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "d", Aliases: []string{"digest"}, Usage: "`DIGEST` of each file, or several with commas between; may be repeated"},
			&cli.BoolFlag{Name: "mindigests", Usage: "md5 and sha1"},
			&cli.BoolFlag{Name: "somedigests", Usage: "md5, sha1 and ed2k"},
			&cli.BoolFlag{Name: "alldigests", Usage: "all digests that there are"},
			&cli.StringSliceFlag{Name: "md5", Usage: "`FILE` that md5sum has written, with files to describe unread; may be repeated"},
			&cli.StringFlag{Name: "addpath", Usage: "`PATH` to append to each mirror's URL, with its slash at the end"},
			&cli.StringFlag{Name: "headerfile", Usage: "`FILE` with XML to put behind the start of the root element"},
			&cli.BoolFlag{Name: "nomirrors", Usage: "do not read standard input"},
			&cli.BoolFlag{Name: "hashlist", Usage: "print the digests instead of a metalink; does not read standard input"},
			&cli.StringFlag{Name: "desc", Usage: "`TEXT` that describes the whole"},
			&cli.BoolFlag{Name: "v4", Usage: "write version 4 (RFC 5854) instead of 3"},
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "`FILE` to write, which is replaced when all is well (default: standard output)"},
			&cli.BoolFlag{Name: "version", Usage: "print name and version"},
		},
		Action: runMetalink,
	}
}

func runMetalink(ctx context.Context, cmd *cli.Command) error {
	if cmd.Bool("version") {
		printf(cmd, "distd metalink version %s\n", version())
		return nil
	}
	if !cmd.Args().Present() && len(cmd.StringSlice("md5")) == 0 {
		return usagef("metalink wants files to describe, or -md5 with a list of them")
	}
	digests, warnings, err := describe.ParseDigests(wantedDigests(cmd), cmd.Bool("v4"))
	if err != nil {
		return usageError{err}
	}
	m := &metalinkRun{cmd: cmd, o: describe.Options{Paths: cmd.Args().Slice(), MD5Lists: cmd.StringSlice("md5"), Digests: digests}}
	m.warn(warnings...)
	if digests.None() && cmd.Args().Present() {
		m.warn("no digest is asked for, so that nobody can check what was downloaded: give -d sha256 -d sha1pieces")
	}
	var header []byte
	if name := cmd.String("headerfile"); name != "" {
		if header, err = os.ReadFile(name); err != nil {
			return fmt.Errorf("headerfile: %w", err)
		}
	}
	if err := m.readMirrors(ctx); err != nil {
		return err
	}
	b := newBar(cmd.Root().ErrWriter, "hashing")
	m.o.Progress = func(done, total int64) { b.set(done, total, "") }
	res, err := describe.Run(ctx, m.o)
	b.end()
	if err != nil {
		return err
	}
	m.warn(res.Warnings...)
	m.leave(res.Left...)
	return m.finish(res, header)
}

// wantedDigests are the names that the flags stand for.
func wantedDigests(cmd *cli.Command) []string {
	words := cmd.StringSlice("d")
	for flag, more := range map[string][]string{"mindigests": {"md5", "sha1"}, "somedigests": {"md5", "sha1", "ed2k"}, "alldigests": describe.DigestNames()} {
		if cmd.Bool(flag) {
			words = append(words, more...)
		}
	}
	return words
}

// metalinkRun is one run of the verb.
type metalinkRun struct {
	cmd  *cli.Command
	o    describe.Options
	code int // of the first thing that was left out
}

func (m *metalinkRun) warn(warnings ...string) {
	for _, w := range warnings {
		_, _ = fmt.Fprintf(m.cmd.Root().ErrWriter, "warning: %s\n", w)
	}
}

// leave tells what is left out.
func (m *metalinkRun) leave(errs ...error) {
	for _, err := range errs {
		_, _ = fmt.Fprintf(m.cmd.Root().ErrWriter, "left out: %v\n", err)
		m.code = cmp.Or(m.code, leftCode(err))
	}
}

func leftCode(err error) int {
	switch {
	case errors.Is(err, describe.ErrLine):
		return node.ExDataErr
	case errors.Is(err, describe.ErrChanged):
		return node.ExTempFail
	}
	if code := node.ExitCode(err); code != node.ExSoftware {
		return code
	}
	return node.ExNoInput
}

// readMirrors reads the mirror lines, unless there is no use for them.
func (m *metalinkRun) readMirrors(ctx context.Context) error {
	if m.cmd.Bool("nomirrors") || m.cmd.Bool("hashlist") {
		return nil
	}
	if in, ok := m.cmd.Root().Reader.(*os.File); ok && isTerminal(in) {
		m.warn("reading mirror lines from the terminal: end them with Ctrl-D, or give -nomirrors")
	}
	text, err := readText(ctx, m.cmd.Root().Reader)
	if err != nil {
		return fmt.Errorf("mirrors on standard input: %w", err)
	}
	mirrors, warnings, left := describe.ParseMirrors(text, m.cmd.String("addpath"))
	m.warn(warnings...)
	m.leave(left...)
	if len(mirrors) == 0 {
		m.warn("there is no mirror on standard input, so that nothing can be downloaded: give lines such as \"external 100 https % https://bt.example\"")
	}
	m.o.Mirrors = mirrors
	return nil
}

// readText reads r to its end. A terminal may have none: the signal that ends
// the program must end the wait for it too, and with the program the reader.
func readText(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		text []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(r, metalink.MaxSize))
		read <- result{text, err}
	}()
	select {
	case res := <-read:
		return string(res.text), res.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// finish writes what was found out. On standard output it is there although
// something was left out, as from the metalink program; a file is replaced by
// what is whole alone.
func (m *metalinkRun) finish(res *describe.Result, header []byte) error {
	var out bytes.Buffer
	if m.cmd.Bool("hashlist") {
		if err := res.WriteHashList(&out, m.o.Digests); err != nil {
			return err
		}
	} else if len(res.Entries) == 0 {
		return m.fail(cmp.Or(m.code, node.ExNoInput), errors.New("there is no file to describe, and no metalink is written"))
	} else {
		doc := res.Document()
		doc.Generator, doc.Header, doc.Description = "distd", header, m.cmd.String("desc")
		write := doc.WriteV3
		if m.cmd.Bool("v4") {
			write = doc.WriteV4
		}
		if err := write(&out); err != nil {
			return m.fail(node.ExDataErr, err)
		}
	}
	if err := m.write(out.Bytes()); err != nil {
		return err
	}
	if m.code != 0 {
		return exitError(m.code)
	}
	return nil
}

func (m *metalinkRun) write(out []byte) error {
	name := m.cmd.String("o")
	if name == "" || name == "-" {
		if _, err := m.cmd.Root().Writer.Write(out); err != nil {
			return m.fail(node.ExIOErr, err)
		}
		return nil
	}
	if m.code != 0 {
		return m.fail(m.code, fmt.Errorf("%s is not written, since something is left out", name))
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return m.fail(node.ExCantCreat, fmt.Errorf("%s is no regular file; leave -o out for standard output", name))
	}
	if err := renameio.WriteFile(name, out, 0o644); err != nil {
		code := node.ExitCode(err)
		if code == node.ExSoftware || code == node.ExNoInput {
			code = node.ExCantCreat
		}
		return m.fail(code, err)
	}
	return nil
}

// fail ends the program with an error whose code only this verb knows.
func (m *metalinkRun) fail(code int, err error) error {
	_, _ = fmt.Fprintf(m.cmd.Root().ErrWriter, "distd: %v\n", err)
	return exitError(code)
}
