package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"distd/internal/layout"
	"distd/pkg/torrentfile"
	"distd/test/netlab"
)

// memoryOptions are the flags of lab memory.
type memoryOptions struct {
	bin, dir              string
	mib                   int64
	leafPeers, seedPeers  int
	mbit                  float64
	seedSeconds, pieceKiB int
	json                  bool
}

// peak is what a distd with many peers needed.
type peak struct {
	What    string  `json:"what"`
	Peers   int     `json:"peers"`
	MiB     int64   `json:"mib"`
	Moved   int64   `json:"moved_mib"` // to and from the peers
	Seconds float64 `json:"seconds"`
	PeakMiB float64 `json:"peak_mib"` // VmHWM
}

func (p *peak) String() string {
	return fmt.Sprintf("%s with %d peers, %d MiB, %d MiB moved in %.1f s: peak %.1f MiB", p.What, p.Peers, p.MiB, p.Moved, p.Seconds, p.PeakMiB)
}

// memory measures the memory of a leaf and of a seed whose peers are made here:
// they have zeros, and throw away what they get.
func memory(ctx context.Context, args []string) error {
	var o memoryOptions
	fs := flag.NewFlagSet("lab memory", flag.ContinueOnError)
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.StringVar(&o.dir, "dir", "/dev/shm", "`FOLDER` for the content and a copy; it should be in memory")
	fs.Int64Var(&o.mib, "mib", 4096, "size of the content in MiB, which is zeros")
	fs.IntVar(&o.pieceKiB, "piece-kib", 0, "length of a piece in KiB (default: what distd publish would choose)")
	fs.IntVar(&o.leafPeers, "leaf-peers", 40, "peers of the leaf")
	fs.IntVar(&o.seedPeers, "seed-peers", 200, "peers of the seed")
	fs.Float64Var(&o.mbit, "mbit", 1000, "rate of all peers together in Mbit/s, in each direction")
	fs.IntVar(&o.seedSeconds, "seconds", 20, "how long the seed's peers ask")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each")
	if err := parse(fs, args); err != nil {
		return err
	}
	if o.mib < 1 || o.mbit <= 0 || o.leafPeers < 1 || o.seedPeers < 1 || o.leafPeers > 10000 || o.seedPeers > 10000 {
		return errors.New("sizes, rates and numbers of peers are 1 or more, and peers 10000 at most")
	}
	var err error
	if o.bin, err = findBinary(o.bin); err != nil {
		return err
	}
	for _, measure := range []func(context.Context, string, *torrentfile.Torrent) (*peak, error){o.leaf, o.seed} {
		p, err := o.in(ctx, measure)
		if err != nil {
			return err
		}
		if err := show(o.json, p); err != nil {
			return err
		}
	}
	return nil
}

// in runs one measurement in a folder of its own.
func (o *memoryOptions) in(ctx context.Context, measure func(context.Context, string, *torrentfile.Torrent) (*peak, error)) (p *peak, err error) {
	dir, err := os.MkdirTemp(o.dir, "lab-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := zeros(o.mib<<20, int64(o.pieceKiB)<<10)
	if err != nil {
		return nil, err
	}
	b, err := t.Encode()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "zeros.torrent"), b, 0o644); err != nil {
		return nil, err
	}
	return measure(ctx, dir, t)
}

// zeros is a torrent of so many zero bytes without a tracker.
func zeros(size, pieceLength int64) (*torrentfile.Torrent, error) {
	if pieceLength == 0 {
		pieceLength = torrentfile.PieceLength(size)
	}
	l, err := layout.New(pieceLength, []layout.File{{Path: "zeros", Length: size}})
	if err != nil {
		return nil, err
	}
	piece := make([]byte, pieceLength)
	full := sha1.Sum(piece)
	last := sha1.Sum(piece[:l.PieceSize(l.NumPieces()-1)])
	var hashes []byte
	for range l.NumPieces() - 1 {
		hashes = append(hashes, full[:]...)
	}
	return torrentfile.Create("zeros", false, l, append(hashes, last[:]...))
}

// distd starts a fetch in dir, which seeds what is there. done is there once it
// is complete.
func (o *memoryOptions) distd(dir string) (p *netlab.Proc, at netip.AddrPort, done string, err error) {
	at = netip.MustParseAddrPort("127.0.0.2:6881")
	done = filepath.Join(dir, "done")
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, fmt.Appendf(nil, "#!/bin/sh\n: > '%s'\n", done), 0o755); err != nil {
		return nil, at, "", err
	}
	p, err = netlab.Loopback("distd", at.Addr()).Start(filepath.Join(dir, "log"), o.bin, "fetch", "-d", dir, "-listen="+at.String(), "-seed-ratio=0.0",
		"-on-bt-download-complete="+hook, filepath.Join(dir, "zeros.torrent"))
	return p, at, done, err
}

// leaf measures a leaf until it has everything. Each of its peers has half of
// the pieces at first.
func (o *memoryOptions) leaf(ctx context.Context, dir string, t *torrentfile.Torrent) (*peak, error) {
	p, at, done, err := o.distd(dir)
	if err != nil {
		return nil, err
	}
	defer p.Kill()
	return o.watch(ctx, "leaf", p, newCrowd(t, at, o.leafPeers, 0.5, o.limit()), func(ctx context.Context) error { return appears(ctx, p, done) })
}

// seed measures a seed for some time. Its peers have nothing at first.
func (o *memoryOptions) seed(ctx context.Context, dir string, t *torrentfile.Torrent) (*peak, error) {
	f, err := os.Create(filepath.Join(dir, "zeros"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(t.Layout.Total), f.Close()); err != nil {
		return nil, err
	}
	p, at, done, err := o.distd(dir)
	if err != nil {
		return nil, err
	}
	defer p.Kill()
	if err := appears(ctx, p, done); err != nil {
		return nil, err
	}
	return o.watch(ctx, "seed", p, newCrowd(t, at, o.seedPeers, 0, o.limit()), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(o.seedSeconds) * time.Second):
			return p.Err()
		}
	})
}

func (o *memoryOptions) limit() rate.Limit { return rate.Limit(o.mbit * 1e6 / 8) }

// watch has a crowd at work until wait returns.
func (o *memoryOptions) watch(ctx context.Context, what string, p *netlab.Proc, c *crowd, wait func(context.Context) error) (*peak, error) {
	workCtx, stop := context.WithCancel(ctx)
	defer stop()
	start := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- c.run(workCtx) }()
	err := wait(ctx)
	took := time.Since(start)
	r := &peak{What: what, Peers: c.busy(), MiB: o.mib, Moved: c.moved.Load() >> 20, Seconds: round(took.Seconds(), 1), PeakMiB: round(float64(p.PeakMemory())/(1<<20), 1)}
	stop()
	return r, errors.Join(err, <-ended)
}

// appears waits until a file is there.
func appears(ctx context.Context, p *netlab.Proc, path string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if err := p.Err(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
