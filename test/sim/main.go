// Command sim runs swarms in virtual time and prints what came of each, against
// the least time that the cables allow. See package distd/pkg/swarm/sim for what
// is modelled.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/sim"
)

// options are the flags.
type options struct {
	sizes    []int
	only     string
	rates    bool
	all      bool
	ablate   bool
	pieces   int
	pieceKiB int64
	slots    int
	without  picker.Rule
	inOrder  bool
	seed     uint64
	runs     int
	profile  string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o options
	if err := o.parse(args); err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.ablate {
		return o.ablation()
	}
	return o.table()
}

func (o *options) parse(args []string) error {
	fs := flag.NewFlagSet("sim", flag.ContinueOnError)
	leaves := fs.String("leaves", "10,16,100,1000,10000", "numbers of leaves, with commas; none: only -rates")
	fs.StringVar(&o.only, "only", "", "run only scenarios whose name contains `TEXT`")
	fs.BoolVar(&o.rates, "rates", true, "run 1 to 60 leaves at 2 Mbit/s to 10 Gbit/s, too")
	fs.BoolVar(&o.all, "all", false, "run every scenario of 1,000 leaves and more, too: each takes minutes")
	fs.BoolVar(&o.ablate, "ablation", false, "instead of the table, switch off each rule in turn, with 16 leaves and with 100")
	fs.IntVar(&o.pieces, "pieces", 0, "number of pieces (default: what is usual for the size)")
	fs.Int64Var(&o.pieceKiB, "piece-kib", 0, "length of a piece in KiB (default: what is usual for the rate)")
	fs.IntVar(&o.slots, "slots", 0, "how many peers a node sends blocks at once (default 16)")
	fs.Uint64Var(&o.seed, "seed", 1, "another number is another run")
	fs.IntVar(&o.runs, "runs", 1, "runs of each, with the seeds from -seed on")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to `FILE`")
	fs.Func("without", "switch off a rule whose name contains `TEXT`; may be given several times", o.switchOff)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: sim [flags]\n\nRules that -without knows:")
		for _, r := range picker.Rules {
			fmt.Fprintln(fs.Output(), "  "+r.Name)
		}
		fmt.Fprintln(fs.Output(), "  "+fewestServed+"\n\nFlags:")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("there are only flags, not %q", fs.Arg(0))
	}
	for _, s := range strings.Split(*leaves, ",") {
		if s == "none" || s == "" {
			continue
		}
		n := 0
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 {
			return fmt.Errorf("-leaves: %q is no number of leaves", s)
		}
		o.sizes = append(o.sizes, n)
	}
	return nil
}

// switchOff handles -without.
func (o *options) switchOff(s string) error {
	found := false
	for _, r := range picker.Rules {
		if strings.Contains(r.Name, s) {
			o.without |= r.Rule
			found = true
		}
	}
	if strings.Contains(fewestServed, s) {
		o.inOrder, found = true, true
	}
	if !found {
		return fmt.Errorf("no rule has %q in its name", s)
	}
	return nil
}

// change applies the flags to a scenario.
func (o *options) change(c sim.Config) sim.Config {
	if o.pieces > 0 {
		c.Pieces = o.pieces
	}
	if o.pieceKiB > 0 {
		c.PieceLength = o.pieceKiB << 10
	}
	c.Slots, c.Without = o.slots, c.Without|o.without
	c.InOrder = c.InOrder || o.inOrder
	return c
}

// usual reports whether a scenario is run without being asked for.
func usual(leaves int, name string) bool {
	switch {
	case leaves >= 10000:
		return name == "equal rates"
	case leaves >= 1000:
		return name == "equal rates" || name == "mixed rates" || name == "seed still fetching"
	}
	return true
}

// table prints a line for each scenario and run.
func (o *options) table() error {
	fmt.Printf("%-34s %6s %9s %7s %7s  %-11s %7s %9s %8s\n", "", "leaves", "least", "last", "median", "seed copies", "wasted", "virtual", "wall")
	lost := 0
	for k := range uint64(o.runs) {
		var all []sim.Scenario
		for _, n := range o.sizes {
			for _, sc := range sim.Farm(n, o.seed+k) {
				if o.all || o.only != "" || usual(n, sc.Name) {
					all = append(all, sc)
				}
			}
		}
		if o.rates {
			all = append(all, sim.Rates(o.seed+k)...)
		}
		for _, sc := range all {
			if strings.Contains(sc.Name, o.only) {
				lost += o.line(sc)
			}
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d leaves did not get everything", lost)
	}
	return nil
}

// line runs one scenario and prints what came of it. It returns how many leaves
// were not done.
func (o *options) line(sc sim.Scenario) int {
	began := time.Now()
	r := sim.Run(o.change(sc.Config))
	var copies []string
	for _, c := range r.Copies {
		copies = append(copies, fmt.Sprintf("%.3f", c))
	}
	fmt.Printf("%-34s %6d %8.2fs %7.3f %7.3f  %-11s %7.4f %8.2fs %7.1fs", sc.Name, len(sc.Leaves), r.Least.Seconds(), r.Last, r.Median,
		strings.Join(copies, "+"), r.Wasted/float64(len(sc.Leaves)), r.Virtual.Seconds(), time.Since(began).Seconds())
	if r.Unfinished > 0 {
		fmt.Printf("  NOT DONE %d", r.Unfinished)
	}
	fmt.Println()
	return r.Unfinished
}
