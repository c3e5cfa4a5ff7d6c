// Package demo runs the main job on one machine: a master, two datacenters of
// a seed and leaves each, on loopback addresses, with a real file and a hook.
//
// Every node is a process of its own, started from the same binary with the
// flags that an operator would use; what the demo knows of them it asks over
// their control sockets. Run owns the processes and ends them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options say what to run.
type Options struct {
	Bin         string // the distd binary
	Payload     string // file to publish; empty for a tar made on the spot
	Dir         string // working folder; empty for a temporary one
	Keep        bool   // leave the folder there
	Datacenters int
	Leaves      int // in each datacenter
	Out         io.Writer
	Terminal    bool // Out is a terminal
	Timeout     time.Duration
}

// ErrDiffers says that something is not as it should be; what, has been
// printed.
var ErrDiffers = errors.New("the demo found a difference")

const (
	channel     = "demo"
	payloadName = "payload.tar"
)

// Run runs the demo. It returns an error if any leaf's file differs from the
// source, a hook did not run exactly once for each release, or a datacenter
// took more than one copy over the long link.
func Run(ctx context.Context, o Options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "distd-demo-"); err != nil {
			return err
		}
		if !o.Keep {
			defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
		}
	}
	f, err := newFarm(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := f.start(ctx); err != nil {
		return fmt.Errorf("%w; the nodes' logs are in %s (use -keep)", err, o.Dir)
	}
	sources, err := f.sources()
	if err != nil {
		return err
	}
	for i, source := range sources {
		if err := f.round(ctx, i+1, source); err != nil {
			return err
		}
	}
	f.printf("Everything is equal to its source, and each hook ran once for each release.\n")
	if o.Keep {
		f.printf("The nodes' folders and logs are in %s\n", o.Dir)
	}
	return nil
}

// sources returns the two versions to publish.
func (f *farm) sources() ([]string, error) {
	if f.Payload != "" {
		second := filepath.Join(f.Dir, "v2", filepath.Base(f.Payload))
		if err := secondVersion(f.Payload, second); err != nil {
			return nil, err
		}
		return []string{f.Payload, second}, nil
	}
	var out []string
	for v := 1; v <= 2; v++ {
		path := filepath.Join(f.Dir, fmt.Sprintf("v%d", v), payloadName)
		if err := makePayload(path, f.Bin, v); err != nil {
			return nil, fmt.Errorf("making the file to publish: %w", err)
		}
		out = append(out, path)
	}
	return out, nil
}

// round publishes one version and waits until all have it.
func (f *farm) round(ctx context.Context, n int, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	f.printf("\nRelease %d: publishing %s (%.1f MiB)\n", n, filepath.Base(source), float64(info.Size())/(1<<20))
	start := time.Now()
	serial, err := f.publish(ctx, source)
	if err != nil {
		return err
	}
	f.printf("Published in %.2f s; the datacenters are fetching it.\n", time.Since(start).Seconds())
	times, err := f.await(ctx, serial, start)
	if err != nil {
		return err
	}
	return f.report(ctx, n, serial, source, times)
}
