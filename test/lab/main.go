// Command lab measures swarms on this machine, and breaks them: one seed and
// many leaves in network namespaces, behind cables with a rate; and the whole
// job over long links. It wants Linux, root, iproute2, opentracker and
// mktorrent, and the clients that it is to measure. See docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"distd/test/netlab/hostile"
)

const usage = `lab measures swarms on this machine, and breaks them.

  lab swarm [flags]     seeds and leaves behind cables: how long until every leaf has everything
  lab fast [flags]      the same on loopback without limits: throughput, CPU and memory
  lab wan [flags]       a download over a long link, by distd fetch and others
  lab zones [flags]     the whole job: a master, datacenters behind long links, hooks
  lab push [flags]      what a release costs nodes that have the one before: bytes and seconds
  lab memory [flags]    the memory of a leaf with many peers and a large file, and of a seed with more
  lab tracker [flags]   announces over HTTP to distd tracker and opentracker: CPU for each, memory

lab swarm -help and lab zones -help list the flags and faults. Ctrl-C ends a run and takes away what it made.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	switch args[0] {
	case "swarm":
		return swarm(ctx, args[1:])
	case "fast":
		return fast(ctx, args[1:])
	case "memory":
		return memory(ctx, args[1:])
	case "wan":
		return wan(ctx, args[1:])
	case "tracker":
		return measureTracker(ctx, args[1:])
	case "push":
		return push(ctx, args[1:])
	case "zones":
		return zones(ctx, args[1:])
	case hostilePeer:
		return hostile.Main(ctx, args[1:])
	}
	return fmt.Errorf("%q is none of swarm, fast, memory, tracker, wan, zones, push", args[0])
}

// hostilePeer is the verb by which the lab runs itself as a hostile peer.
const hostilePeer = "hostile-peer"

// findBinary finds the distd to be measured.
func findBinary(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(abs); err != nil {
		return "", fmt.Errorf("%w (make build makes it; -bin names another)", err)
	}
	return abs, nil
}

// parse parses a command's flags, which take no arguments behind them.
func parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s takes no arguments, but got %q", fs.Name(), fs.Args())
	}
	return nil
}
