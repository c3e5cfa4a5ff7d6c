package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"distd/test/netlab"
)

// swarm runs the swarms of its flags, one after the other, and prints a line for
// each. It fails when a leaf does not get the right bytes, or is held up too
// much by a hostile peer.
func swarm(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("lab swarm", flag.ContinueOnError)
	o.common(fs, 16, 64, 64)
	o.network(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	var errs []error
	for range o.runs {
		for _, clients := range o.clients {
			if err := o.compare(ctx, clients); err != nil {
				errs = append(errs, err)
			}
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
		}
	}
	return errors.Join(errs...)
}

// compare runs a swarm without faults, if that is asked for or something is to
// be compared with it, and then with each fault.
func (o *options) compare(ctx context.Context, clients string) error {
	var errs []error
	usual := 0.0
	for _, f := range append([]fault{{}}, o.faults...) {
		if f.name == "" && len(o.faults) > 0 && !anyHostile(o.faults) {
			continue
		}
		r, err := o.one(ctx, clients, f)
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", clients, f.title(), err)
			if ctx.Err() != nil || r == nil {
				return errors.Join(append(errs, err)...)
			}
			r.Error = err.Error()
			errs = append(errs, err)
		}
		if f.name == "" {
			usual = r.LastS
		} else if f.hostile && usual > 0 && err == nil {
			r.AgainstUsual = round(r.LastS/usual, 2)
			if r.AgainstUsual > tolerance {
				errs = append(errs, fmt.Errorf("%s, %s: the leaves took %.2f times as long as without it", clients, f.title(), r.AgainstUsual))
			}
		}
		if err := o.print(r); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func (f fault) title() string {
	if f.name == "" {
		return "no fault"
	}
	return f.name
}

func anyHostile(fs []fault) bool {
	for _, f := range fs {
		if f.hostile {
			return true
		}
	}
	return false
}

// one runs one swarm. The result is nil when the swarm never ran.
func (o *options) one(ctx context.Context, clients string, f fault) (r *result, err error) {
	spec, err := o.spec(clients)
	if err != nil {
		return nil, err
	}
	if f.leaves > o.leaves {
		return nil, fmt.Errorf("wants %d leaves at least", f.leaves)
	}
	spec.Seeds = max(spec.Seeds, f.seeds)
	if f.hostile {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		spec.Hostile, spec.HostilePeer = f.name, []string{self, hostilePeer}
	}
	limit := o.timeout
	if limit == 0 {
		slowest := o.mbit
		if o.slow > 0 {
			slowest /= 4
		}
		limit = time.Minute + time.Duration(20*float64(spec.Size)*8/(slowest*1e6)*float64(time.Second))
	}
	if spec.Seed == netlab.Rsync {
		limit *= time.Duration(o.leaves)
	}
	limited, stop := context.WithTimeout(ctx, limit)
	defer stop()
	s, err := netlab.NewSwarm(limited, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	runErr := s.Run(limited, f.do)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	r, err = measure(ctx, s, spec)
	if err != nil {
		return nil, errors.Join(runErr, err)
	}
	r.Clients, r.Fault = clients, f.name
	return r, errors.Join(runErr, r.wrong())
}

func (o *options) print(r *result) error {
	return show(o.json, r)
}
