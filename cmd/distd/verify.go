package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"

	"distd/internal/node"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check the content of complete releases against their manifests", ArgsUsage: "[RELEASE ...]",
		Description: "Without a release, all complete ones are checked. The exit code is 65 when a file differs.",
		Flags:       []cli.Flag{dirFlag("the node's `FOLDER`"), jsonFlag()},
		Action:      runVerify,
	}
}

func runVerify(ctx context.Context, cmd *cli.Command) error {
	out, err := verifyBy(ctx, cmd.String("dir"), cmd.Args().Slice())
	if err != nil {
		return err
	}
	bad := false
	for _, v := range out {
		bad = bad || len(v.Problems) > 0
	}
	if cmd.Bool("json") {
		err = printJSON(cmd, out)
	} else {
		printVerified(cmd, out)
	}
	if bad && err == nil {
		return exitError(node.ExDataErr)
	}
	return err
}

func verifyBy(ctx context.Context, dir string, ids []string) ([]node.Verified, error) {
	c, err := node.DialControl(dir)
	if err == nil {
		return c.Verify(ctx, ids)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	st, err := node.OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	out, err := node.VerifyReleases(ctx, st, ids)
	return out, errors.Join(err, st.Close())
}

func printVerified(cmd *cli.Command, out []node.Verified) {
	if len(out) == 0 {
		printf(cmd, "no complete release here\n")
	}
	for _, v := range out {
		state := "good"
		if len(v.Problems) > 0 {
			state = "BAD"
		}
		printf(cmd, "%s  %s, release %d of channel %s (%s)\n", state, v.Name, v.Serial, v.Channel, v.Release)
		for _, p := range v.Problems {
			printf(cmd, "  %s\n", p)
		}
	}
}
