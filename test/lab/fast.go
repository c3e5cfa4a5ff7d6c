package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"distd/test/netlab"
)

// speed is what a run without limits gave.
type speed struct {
	Clients  string  `json:"clients"`
	Leaves   int     `json:"leaves"`
	MiB      int     `json:"mib"`
	LastS    float64 `json:"last_s"`
	MiBps    float64 `json:"mib_per_s"`        // all leaves together
	LeafCPU  float64 `json:"leaf_cpu_per_gib"` // seconds for each GiB received; mean
	SeedCPU  float64 `json:"seed_cpu_per_gib"` // seconds for each GiB that a leaf received
	LeafPeak int64   `json:"leaf_peak_mib"`    // the largest
	SeedPeak int64   `json:"seed_peak_mib"`
	Differ   int     `json:"differ"`
}

func (s *speed) String() string {
	return fmt.Sprintf("%-12s x%d, %d MiB: %.0f MiB/s  CPU s for each GiB leaf %.2f seed %.2f  peak MiB leaf %d seed %d  differ %d",
		s.Clients, s.Leaves, s.MiB, s.MiBps, s.LeafCPU, s.SeedCPU, s.LeafPeak, s.SeedPeak, s.Differ)
}

// fast runs swarms on loopback, in memory and without limits.
func fast(ctx context.Context, args []string) error {
	o := options{seeds: 1}
	fs := flag.NewFlagSet("lab fast", flag.ContinueOnError)
	o.common(fs, 1, 1024, 512)
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	var errs []error
	for range o.runs {
		for _, clients := range o.clients {
			r, err := o.race(ctx, clients)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", clients, err))
				if ctx.Err() != nil {
					return errors.Join(errs...)
				}
				continue
			}
			errs = append(errs, show(o.json, r))
		}
	}
	return errors.Join(errs...)
}

func (o *options) race(ctx context.Context, clients string) (r *speed, err error) {
	spec, err := o.spec(clients)
	if err != nil {
		return nil, err
	}
	spec.Loopback = true
	limit := o.timeout
	if limit == 0 {
		limit = time.Minute + time.Duration(spec.Size>>20)*time.Duration(o.leaves)*time.Second/10
	}
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	s, err := netlab.NewSwarm(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for range 2 {
		if err := touch(ctx, o.dir, int64(2*o.leaves+1)*spec.Size); err != nil {
			return nil, err
		}
	}
	if err := s.Run(ctx, nil); err != nil {
		return nil, err
	}
	return o.speed(ctx, clients, s, spec.Size)
}

func (o *options) speed(ctx context.Context, clients string, s *netlab.Swarm, size int64) (*speed, error) {
	r := &speed{Clients: clients, Leaves: o.leaves, MiB: int(size >> 20), SeedPeak: s.Seeds[0].PeakMemory() >> 20}
	gib, cpu := float64(size)/(1<<30), 0.0
	for _, n := range s.Leaves {
		cpu += n.CPU().Seconds()
		r.LeafPeak = max(r.LeafPeak, n.PeakMemory()>>20)
	}
	r.LeafCPU, r.SeedCPU = round(cpu/float64(o.leaves)/gib, 2), round(s.SeedCPU().Seconds()/float64(o.leaves)/gib, 2)
	t := took(s.Leaves)
	r.LastS = round(t[len(t)-1], 3)
	r.MiBps = round(float64(size)/(1<<20)*float64(o.leaves)/t[len(t)-1], 0)
	differ := s.Differ(ctx)
	r.Differ = len(differ)
	for _, err := range differ {
		return r, err
	}
	return r, nil
}

// touch writes a scratch file and removes it. A hypervisor may take back memory
// that is free, and then the first touch of a page costs as much as all else;
// afterwards the next who writes finds pages that are there.
func touch(ctx context.Context, dir string, n int64) (err error) {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("lab-scratch-%d", os.Getpid())))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	zeros := make([]byte, 1<<20)
	for ; n > 0 && ctx.Err() == nil; n -= int64(len(zeros)) {
		if _, err := f.Write(zeros); err != nil {
			return fmt.Errorf("touch memory for the content and its copies: %w", err)
		}
	}
	return ctx.Err()
}
