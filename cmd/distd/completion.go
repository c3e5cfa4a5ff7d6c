package main

import (
	"bytes"
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
)

// complete prints what may stand where the cursor is, for the shell's script.
// The library suggests flags with two dashes; who has typed one gets one, as
// the manual has it, or the shell would find nothing that fits.
func complete(ctx context.Context, cmd *cli.Command) {
	root := cmd.Root()
	out := root.Writer
	var b bytes.Buffer
	root.Writer = &b
	cli.DefaultCompleteWithFlags(ctx, cmd)
	root.Writer = out
	text := b.String()
	if typed := typed(os.Args); strings.HasPrefix(typed, "-") && !strings.HasPrefix(typed, "--") {
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "--") {
				lines[i] = line[1:]
			}
		}
		text = strings.Join(lines, "")
	}
	_, _ = out.Write([]byte(text)) // the shell is gone when it fails
}

// typed is the word before the one that asks for suggestions.
func typed(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[len(args)-2]
}
