package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"distd/internal/manifest"
	"distd/internal/node"
)

func keygenCommand() *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "make a key pair for signing releases, in minisign's format",
		Description: "Existing files are never overwritten. A master makes its own pair at its first start; this is\n" +
			"for those who want it before, or elsewhere.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`PREFIX` of the files PREFIX.key (secret) and PREFIX.pub", Value: "publish"},
			jsonFlag(),
		},
		Action: alone(func(_ context.Context, cmd *cli.Command) error {
			priv, pub := cmd.String("out")+".key", cmd.String("out")+".pub"
			key, created, err := manifest.LoadOrCreateKey(priv, pub)
			if err != nil {
				return err
			}
			if !created {
				_, _ = cmd.Root().ErrWriter.Write([]byte("distd: " + priv + " is there already and was left alone\n"))
				return exitError(node.ExCantCreat)
			}
			if cmd.Bool("json") {
				return printJSON(cmd, map[string]string{"private_key": priv, "public_key_file": pub, "public_key": key.Public().String()})
			}
			printf(cmd, "secret key  %s\npublic key  %s\n            %s\n", priv, pub, key.Public())
			return nil
		}),
	}
}
