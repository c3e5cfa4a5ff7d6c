package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
	"distd/internal/node"
)

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends the program with a code and says nothing more: what there was
// to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run runs one command line and returns the exit code. Data goes to stdout,
// everything else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := command(stdin, stdout, stderr)
	args = helpArgs(args)
	args, warnings, err := aria2Fetch(args)
	for _, w := range warnings {
		_, _ = fmt.Fprintf(stderr, "distd: %s\n", w)
	}
	if err == nil {
		err = root.Run(ctx, args)
	}
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	if topic, ok := strings.CutPrefix(err.Error(), "No help topic for '"); ok {
		topic = strings.TrimSuffix(topic, "'")
		err = usagef("no help on %q%s", topic, config.Nearest(topic, verbs(root)))
	}
	_, _ = fmt.Fprintf(stderr, "distd: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintln(stderr, "Run 'distd help' for the verbs and 'distd VERB -help' for a verb's flags.")
		return node.ExUsage
	}
	return node.ExitCode(err)
}

// helpArgs makes "help torrent create" of the verbs and a flag: the library's own
// help knows the first verb only, and no flags.
func helpArgs(args []string) []string {
	if len(args) < 3 || args[1] != "help" {
		return args
	}
	if strings.HasPrefix(args[2], "-") {
		return []string{args[0], "help"}
	}
	if len(args) == 3 {
		return args // an unknown verb is told as such
	}
	return slices.Concat(args[:1], args[2:], []string{"--help"})
}

// command is the whole command line: no verb starts the daemon.
func command(stdin io.Reader, stdout, stderr io.Writer) *cli.Command {
	root := &cli.Command{
		Name:      "distd",
		Usage:     "bring content to hundreds of servers in several datacenters",
		UsageText: "distd -role=master|seed|leaf [flags]   run the daemon\ndistd VERB [flags] [arguments]",
		Description: "A master publishes releases, one or more seeds in each datacenter fetch each of them once,\n" +
			"and every leaf gets it from the swarm, verifies it, makes it live and runs a hook.",
		Flags:                      daemonFlags(),
		Action:                     daemonMain,
		HideVersion:                true,
		EnableShellCompletion:      true,
		ShellCompletionCommandName: "completion",
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden = false
			c.Usage = "print a completion script for bash, zsh, fish or pwsh"
		},
		Reader: stdin, Writer: stdout, ErrWriter: stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run decides
		Commands: []*cli.Command{
			publishCommand(), fetchCommand(), statusCommand(), verifyCommand(), rollbackCommand(), limitCommand(), watchCommand(),
			torrentCommand(), metalinkCommand(), trackerCommand(), keygenCommand(), checkConfigCommand(), demoCommand(), versionCommand(),
		},
	}
	setUsageErrors(root)
	return root
}

// alone makes an action of one that takes no arguments.
func alone(f cli.ActionFunc) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() {
			return usagef("%s takes no argument, but %q is given", cmd.Name, cmd.Args().First())
		}
		return f(ctx, cmd)
	}
}

// setUsageErrors gives every command the same short way to report a mistake,
// and the same way to complete a word.
func setUsageErrors(c *cli.Command) {
	c.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
		text := err.Error()
		if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
			name = strings.TrimLeft(name, "-")
			if slices.Contains(verbs(cmd.Root()), name) {
				return usagef("unknown flag -%s; it is a verb: distd %s", name, name)
			}
			return usagef("unknown flag -%s%s", name, config.Nearest(name, flagNames(cmd)))
		}
		if name, ok := strings.CutPrefix(text, "Required flag \""); ok {
			name, _, _ = strings.Cut(name, "\"")
			return usagef("%s needs -%s", cmd.Name, name)
		}
		return usageError{err}
	}
	c.ShellComplete = complete
	for _, sub := range c.Commands {
		setUsageErrors(sub)
	}
}

func flagNames(cmd *cli.Command) []string {
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	return names
}
