package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"distd/test/netlab"
)

// push measures what a release costs nodes that have the one before.
func push(ctx context.Context, args []string) (err error) {
	var o zonesOptions
	fs := flag.NewFlagSet("lab push", flag.ContinueOnError)
	o.wanOptions.flags(fs, "wan-rate")
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.StringVar(&o.dir, "dir", "/dev/shm", "`FOLDER` for the content and its copies; it should be in memory")
	fs.IntVar(&o.leaves, "leaves", 4, "leaves of the datacenter, which has one seed")
	fs.Float64Var(&o.lan, "lan-rate", 1000, "rate of every cable in the datacenter in Mbit/s, in each direction")
	fs.Float64Var(&o.mib, "size", 320, "size of the release in MiB")
	fs.IntVar(&o.files, "files", 10_000, "number of files; of 1, the push inserts -insert bytes at a tenth, else it changes -changed files, removes -removed and moves a folder")
	changed := fs.Int("changed", 20, "files that are changed")
	removed := fs.Int("removed", 5, "files that are removed")
	insert := fs.Int64("insert", 1<<20, "bytes that are inserted")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give up after this time")
	fs.BoolVar(&o.json, "json", false, "print a JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	o.zones, o.seeds = 1, 1
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, o.timeout)
	defer stop()
	z, err := netlab.NewZones(ctx, netlab.ZonesSpec{Distd: o.bin, Dir: o.dir, Zones: 1, Seeds: 1, Leaves: o.leaves, Size: int64(o.mib * (1 << 20)), Files: o.files,
		Wan: o.long(0), Lan: netlab.Cable{Mbit: o.lan}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	if err := z.Run(ctx, nil); err != nil {
		return err
	}
	change := netlab.ChangeTree(*changed, *removed)
	if o.files == 1 {
		change = netlab.ChangeFile(*insert, 10)
	}
	p, err := z.Push(ctx, change)
	if err != nil {
		return err
	}
	for name, why := range z.Differ(ctx) {
		err = errors.Join(err, fmt.Errorf("%s differs: %w", name, why))
	}
	return errors.Join(err, show(o.json, (*pushResult)(p)))
}

type pushResult netlab.Pushed

func (r *pushResult) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes changed, manifest %d bytes, publish %.2f s", r.Changed, r.Manifest, r.Publishing.Seconds())
	for _, n := range r.Nodes {
		fmt.Fprintf(&b, "\n  %-10s fetched %d bytes (%.3f of what changed, %d in packs), had %d  hook %.2f s after the start of publish, %.2f s after its end",
			n.Name, n.Fetched, float64(n.Fetched)/float64(max(1, r.Changed)), n.Delta, n.Reused, n.Hook.Seconds(), (n.Hook - r.Publishing).Seconds())
	}
	return b.String()
}
