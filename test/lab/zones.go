package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"distd/test/netlab"
)

// wanOptions are the flags of a long link.
type wanOptions struct {
	mbit, loss float64
	rtt        time.Duration
	cc         string
	lossSeed   uint64
}

func (o *wanOptions) flags(fs *flag.FlagSet, rate string) {
	fs.Float64Var(&o.mbit, rate, 200, "rate of each long link in Mbit/s, in each direction")
	fs.DurationVar(&o.rtt, "rtt", 80*time.Millisecond, "there and back over a long link")
	fs.Float64Var(&o.loss, "loss", 0.1, "packets lost on a long link, percent, in each direction")
	fs.Uint64Var(&o.lossSeed, "loss-seed", 1, "which packets are lost; each run takes the next")
	fs.StringVar(&o.cc, "cc", "cubic", "TCP congestion control over the long links, whatever the programs ask for; empty leaves it to them (distd asks for bbr)")
}

func (o *wanOptions) check() error {
	if o.mbit <= 0 || o.rtt < 0 || o.loss < 0 || o.loss >= 100 {
		return errors.New("rates must be above 0, times not below, and losses from 0 to below 100")
	}
	return nil
}

// long is the link of a run.
func (o *wanOptions) long(run int) netlab.Long {
	return netlab.Long{Mbit: o.mbit, Delay: o.rtt / 2, Loss: o.loss / 100, Seed: o.lossSeed + uint64(run), Congestion: o.cc}
}

// zonesOptions are the flags of lab zones.
type zonesOptions struct {
	wanOptions
	bin, dir, fault                   string
	zones, seeds, leaves, files       int
	mib                               float64
	runs                              int
	lan                               float64
	partners, json, serverless        bool
	timeout, back, idle               time.Duration
	masterFlags, seedFlags, leafFlags []string
	slow                              bool
	do                                netlab.ZoneFault
}

const zoneFaults = `what happens to the first seed of the first datacenter; N is how many percent of a copy that datacenter's links
have carried in all by then:
  kill@N: the seed is killed
  back@N, back: it is killed (at 30) and started again after -back
  hang@N: its long link loses everything without a word
  cut@N: its long link is taken away
  freeze@N: its process is stopped with all connections open
  slow: its long link has a fifth of the rate, from the start and in every datacenter`

// zones runs the whole job: publish, long links, swarms, hooks.
func zones(ctx context.Context, args []string) error {
	var o zonesOptions
	fs := flag.NewFlagSet("lab zones", flag.ContinueOnError)
	o.wanOptions.flags(fs, "wan-rate")
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.StringVar(&o.dir, "dir", "/dev/shm", "`FOLDER` for the content and its copies; it should be in memory")
	fs.IntVar(&o.zones, "zones", 1, "number of datacenters")
	fs.IntVar(&o.seeds, "seeds", 1, "seeds of each datacenter")
	fs.IntVar(&o.leaves, "leaves", 8, "leaves of each datacenter")
	fs.Float64Var(&o.lan, "lan-rate", 100, "rate of every cable in a datacenter in Mbit/s, in each direction")
	fs.Float64Var(&o.mib, "size", 64, "size of the release in MiB, such as 0.0625")
	fs.IntVar(&o.files, "files", 1, "number of files that it consists of")
	fs.IntVar(&o.runs, "runs", 1, "number of runs")
	fs.BoolVar(&o.partners, "partners", true, "tell the seeds of a datacenter of each other (-seed)")
	fs.BoolVar(&o.serverless, "serverless", false, "tell the leaves of no seed to follow, but of the seeds' DHT and the publisher's key alone: no tracker, no HTTP")
	fs.DurationVar(&o.idle, "idle", 0, "look for so long at what the nodes do when the release is everywhere: CPU, packets, memory")
	fs.StringVar(&o.fault, "fault", "", zoneFaults)
	fs.DurationVar(&o.back, "back", 3*time.Second, "pause of the fault back")
	for name, list := range map[string]*[]string{"master-flag": &o.masterFlags, "seed-flag": &o.seedFlags, "leaf-flag": &o.leafFlags} {
		fs.Func(name, "a further `FLAG` of the role, such as -up=10MiB; may be given several times", func(s string) error {
			*list = append(*list, s)
			return nil
		})
	}
	fs.DurationVar(&o.timeout, "timeout", 0, "give a run up after this time (default: a minute and 20 times the least time)")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each run")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	var errs []error
	for run := range o.runs {
		errs = append(errs, o.run(ctx, run))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (o *zonesOptions) check() (err error) {
	if o.bin, err = findBinary(o.bin); err != nil {
		return err
	}
	if err := o.wanOptions.check(); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("the lab wants root")
	}
	if o.zones < 1 || o.seeds < 1 || o.leaves < 1 || o.mib*(1<<20) < 1 || o.files < 1 || o.lan <= 0 || o.zones > 200 || o.seeds > 200 || o.leaves > 250 {
		return errors.New("zones, seeds, leaves, sizes, files and rates are 1 or more, and no more than 250 leaves and 200 zones and seeds")
	}
	return o.parseFault()
}

func (o *zonesOptions) parseFault() error {
	name, at, timed := strings.Cut(o.fault, "@")
	part := 0.3
	if timed {
		n, err := strconv.ParseFloat(at, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of percent", at)
		}
		part = n / 100
	}
	if (timed && name == "slow") || (!timed && (name == "kill" || name == "hang" || name == "cut" || name == "freeze")) {
		return fmt.Errorf("-fault=%s: only faults at a moment have one, and they must: %s", o.fault, name)
	}
	switch name {
	case "":
	case "kill":
		o.do = netlab.At(part, netlab.KillSeed)
	case "back":
		o.do = netlab.At(part, netlab.RestartSeed(o.back))
	case "hang":
		o.do = netlab.At(part, netlab.HangLink)
	case "cut":
		o.do = netlab.At(part, netlab.CutLink)
	case "freeze":
		o.do = netlab.At(part, netlab.FreezeSeed)
	case "slow":
		o.slow = true
	default:
		return fmt.Errorf("there is no fault %q; lab zones -help lists them", o.fault)
	}
	return nil
}

// least is the time in seconds before which no datacenter can have the release:
// its long links must carry it once, and each cable.
func (o *zonesOptions) least() float64 {
	bits := o.mib * (1 << 20) * 8
	wan := float64(o.seeds) * o.mbit
	if o.slow {
		wan -= o.mbit * (1 - 1.0/netlab.SlowSeed)
	}
	return bits / (min(wan, o.lan) * 1e6)
}

func (o *zonesOptions) run(ctx context.Context, run int) (err error) {
	limit := o.timeout
	if limit == 0 {
		limit = time.Minute + time.Duration(20*o.least()*float64(time.Second))
	}
	limited, stop := context.WithTimeout(ctx, limit+o.idle)
	defer stop()
	z, err := netlab.NewZones(limited, netlab.ZonesSpec{
		Distd: o.bin, Dir: o.dir, Zones: o.zones, Seeds: o.seeds, Leaves: o.leaves, Size: int64(o.mib * (1 << 20)), Files: o.files,
		Wan: o.long(run), Lan: netlab.Cable{Mbit: o.lan}, SlowSeed: o.slow, Partners: o.partners && o.seeds > 1, Serverless: o.serverless,
		MasterFlags: o.masterFlags, SeedFlags: o.seedFlags, LeafFlags: o.leafFlags,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	runErr := z.Run(limited, o.do)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	r := o.measure(ctx, z)
	if runErr == nil && o.idle > 0 {
		r.Idle, runErr = z.Idle(limited, o.idle)
	}
	if runErr != nil {
		r.Error = runErr.Error()
	}
	return errors.Join(runErr, r.wrong(), show(o.json, r))
}
