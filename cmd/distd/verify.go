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
		Description: "Without a release, all complete ones are checked. The exit code is 65 when a file differs.\n\n" +
			"With -repair what differs is put right: wrong and missing files are fetched again by the running daemon\n" +
			"and replaced as a whole, and what is not part of a release is removed. No hook runs. The exit code is 0\n" +
			"then, and 65 when something could not be put right.",
		Flags:  []cli.Flag{dirFlag("the node's `FOLDER`"), &cli.BoolFlag{Name: "repair", Usage: "put right what differs"}, jsonFlag()},
		Action: runVerify,
	}
}

func runVerify(ctx context.Context, cmd *cli.Command) error {
	out, err := verifyBy(ctx, cmd.String("dir"), cmd.Args().Slice(), cmd.Bool("repair"))
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

func verifyBy(ctx context.Context, dir string, ids []string, repair bool) ([]node.Verified, error) {
	c, err := node.DialControl(dir)
	if err == nil {
		return c.Verify(ctx, ids, repair)
	}
	if !errors.Is(err, node.ErrNoDaemon) {
		return nil, err
	}
	st, err := node.OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	out, err := node.VerifyReleases(ctx, st, ids, repair)
	return out, errors.Join(err, st.Close())
}

func printVerified(cmd *cli.Command, out []node.Verified) {
	if len(out) == 0 {
		printf(cmd, "no complete release here\n")
	}
	for _, v := range out {
		state := "good"
		switch {
		case len(v.Problems) > 0:
			state = "BAD"
		case len(v.Repaired) > 0:
			state = "repaired"
		}
		printf(cmd, "%s  %s, release %d of channel %s (%s)\n", state, v.Name, v.Serial, v.Channel, v.Release)
		for _, p := range v.Repaired {
			printf(cmd, "  repaired: %s\n", p)
		}
		for _, p := range v.Problems {
			printf(cmd, "  %s\n", p)
		}
		if v.Unrepaired != "" {
			printf(cmd, "  not repaired: %s\n", v.Unrepaired)
		}
	}
}
