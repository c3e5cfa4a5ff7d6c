package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"

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
	err := root.Run(ctx, args)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	if topic, ok := strings.CutPrefix(err.Error(), "No help topic for '"); ok {
		topic = strings.TrimSuffix(topic, "'")
		err = usagef("no help on %q%s", topic, didYouMean(topic, verbs(root)))
	}
	_, _ = fmt.Fprintf(stderr, "distd: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintln(stderr, "Run 'distd help' for the verbs and 'distd VERB -help' for a verb's flags.")
		return node.ExUsage
	}
	return node.ExitCode(err)
}

// command is the whole command line: no verb starts the daemon.
func command(stdin io.Reader, stdout, stderr io.Writer) *cli.Command {
	root := &cli.Command{
		Name:      "distd",
		Usage:     "bring content to hundreds of servers in several datacenters",
		UsageText: "distd -role=master|seed|leaf [flags]   run the daemon\n   distd VERB [flags] [arguments]",
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
			publishCommand(), fetchCommand(), statusCommand(), verifyCommand(), rollbackCommand(),
			keygenCommand(), checkConfigCommand(), demoCommand(), versionCommand(),
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

// setUsageErrors gives every command the same short way to report a mistake.
func setUsageErrors(c *cli.Command) {
	c.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
		text := err.Error()
		if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
			name = strings.TrimLeft(name, "-")
			return usagef("unknown flag -%s%s", name, didYouMean(name, flagNames(cmd)))
		}
		return usageError{err}
	}
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

// didYouMean names the candidate that is closest to a word, if one is close.
func didYouMean(word string, candidates []string) string {
	best, score := "", 0.0
	for _, c := range candidates {
		if s := similarity(word, c); s > score {
			best, score = c, s
		}
	}
	if score < 0.4 {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// similarity is the share of letter pairs that two words have in common, 0 to 1.
func similarity(a, b string) float64 {
	pairs := func(s string) map[string]int {
		m := map[string]int{}
		s = "^" + strings.ToLower(s) + "$"
		for i := range len(s) - 1 {
			m[s[i:i+2]]++
		}
		return m
	}
	pa, pb := pairs(a), pairs(b)
	common := 0
	for p, n := range pa {
		common += min(n, pb[p])
	}
	return 2 * float64(common) / float64(len(a)+len(b)+2)
}
