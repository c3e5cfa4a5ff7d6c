package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"distd/internal/config"
	"distd/pkg/swarm/wire"
	"distd/test/netlab"
)

// options are the flags of the commands that run swarms.
type options struct {
	bin, seed, cc, encryption, fault, dir string
	clients                               []string // one swarm each, in turn
	fileSize                              string   // a range, or empty
	seeds, leaves, slow, late             int
	mib, files, pieceKiB, runs            int
	mbit                                  float64
	timeout                               time.Duration
	json                                  bool
	faults                                []fault
}

// common are the flags of all commands that run swarms.
func (o *options) common(fs *flag.FlagSet, leaves, mib, pieceKiB int) {
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.Func("clients", "what the leaves are: distd, aria2c, libtorrent, rsync (a daemon, and a client on each leaf) or a `MIX` such as distd:8,aria2c:8; given several times, each runs in turn (default distd)", func(s string) error {
		o.clients = append(o.clients, s)
		return nil
	})
	fs.StringVar(&o.seed, "seed", "", "the `CLIENT` that seeds (default: the first of -clients)")
	fs.IntVar(&o.leaves, "leaves", leaves, "number of leaves")
	fs.IntVar(&o.mib, "mib", mib, "size of the content in MiB")
	fs.IntVar(&o.files, "files", 1, "number of files that it consists of")
	fs.StringVar(&o.fileSize, "file-size", "", "a `RANGE` such as 1KiB-64KiB in which each file has a size of its own, always the same ones; -mib does not count then (default: all are equal)")
	fs.IntVar(&o.pieceKiB, "piece-kib", pieceKiB, "length of a piece in KiB, a power of two")
	fs.StringVar(&o.encryption, "encryption", "allow", "message stream encryption: off, allow or require")
	fs.IntVar(&o.runs, "runs", 1, "number of runs of each")
	fs.StringVar(&o.dir, "dir", "/dev/shm", "`FOLDER` for the content and its copies; it should be in memory")
	fs.DurationVar(&o.timeout, "timeout", 0, "give a run up after this time (default: a minute and 20 times the least time)")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each run")
}

func (o *options) network(fs *flag.FlagSet) {
	fs.IntVar(&o.seeds, "seeds", 1, "number of seeds")
	fs.Float64Var(&o.mbit, "mbit", 50, "rate of every cable in Mbit/s, in each direction")
	fs.IntVar(&o.slow, "slow", 0, "so many leaves have a quarter of the rate")
	fs.IntVar(&o.late, "late", 0, "so many leaves start when the others could be half done")
	fs.StringVar(&o.cc, "cc", "cubic", "TCP congestion control of all peers")
	var names []string
	for _, f := range faults {
		names = append(names, "  "+f.name+": "+f.help)
	}
	fs.StringVar(&o.fault, "fault", "", "what goes wrong, a `NAME` or several with commas, or all:\n"+strings.Join(names, "\n"))
}

// check completes the options and refuses those that make no swarm.
func (o *options) check() (err error) {
	if o.bin, err = findBinary(o.bin); err != nil {
		return err
	}
	if len(o.clients) == 0 {
		o.clients = []string{string(netlab.Distd)}
	}
	if _, err := wire.ParsePolicy(o.encryption); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("the lab wants root")
	}
	for name, v := range map[string]int{"leaves": o.leaves, "seeds": o.seeds, "mib": o.mib, "files": o.files, "runs": o.runs} {
		if v < 1 {
			return fmt.Errorf("-%s must be 1 or more", name)
		}
	}
	if o.leaves > 250 || o.seeds > 250 || o.slow < 0 || o.late < 0 || o.slow+o.late >= o.leaves {
		return fmt.Errorf("no more than 250 leaves and 250 seeds, and one leaf at least that is neither slow nor late")
	}
	if o.pieceKiB < 32 || o.pieceKiB&(o.pieceKiB-1) != 0 {
		return fmt.Errorf("-piece-kib must be a power of two from 32 on")
	}
	o.faults, err = parseFaults(o.fault)
	return err
}

// spec is the swarm of one of -clients.
func (o *options) spec(clients string) (netlab.Spec, error) {
	each, err := netlab.ParseClients(clients, o.leaves)
	if err != nil {
		return netlab.Spec{}, err
	}
	seed := each[0]
	if o.seed != "" {
		if seed, err = netlab.ParseClient(o.seed); err != nil {
			return netlab.Spec{}, err
		}
	}
	for _, c := range append(slices.Compact(slices.Clone(each)), seed) {
		if err := c.Missing(); err != nil {
			return netlab.Spec{}, err
		}
	}
	if slices.Contains(append(each, seed), netlab.Rsync) && (seed != each[0] || o.seeds > 1 || len(o.faults) > 0) {
		return netlab.Spec{}, errors.New("rsync wants one seed that is rsync, too, and knows no faults")
	}
	spec := netlab.Spec{
		Distd: o.bin, Dir: o.dir, Seed: seed, Seeds: o.seeds, Clients: each,
		Size: int64(o.mib) << 20, Files: o.files, PieceLength: o.pieceKiB << 10,
		Cable: netlab.Cable{Mbit: o.mbit, Congestion: o.cc}, Slow: o.slow, Late: o.late, Encryption: o.encryption,
	}
	if o.fileSize == "" {
		return spec, nil
	}
	least, most, err := parseRange(o.fileSize)
	if err != nil {
		return netlab.Spec{}, fmt.Errorf("-file-size: %w", err)
	}
	spec.FileSizes, spec.Size = netlab.RandomSizes(o.files, least, most), 0
	for _, n := range spec.FileSizes {
		spec.Size += n
	}
	return spec, nil
}

// parseRange reads a range of sizes, such as 1KiB-64KiB, or a single one.
func parseRange(s string) (least, most int64, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	var a, b config.Bytes
	if err := errors.Join(a.UnmarshalText([]byte(from)), b.UnmarshalText([]byte(to))); err != nil {
		return 0, 0, err
	}
	if a < 1 || b < a {
		return 0, 0, fmt.Errorf("%q is no range such as 1KiB-64KiB, from 1 byte on", s)
	}
	return int64(a), int64(b), nil
}
