package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"distd/test/netlab"
)

// trackerOptions are the flags of lab tracker.
type trackerOptions struct {
	bin                    string
	trackers               []string
	torrents, peers        int
	announces, connections int
	keep, json             bool
	runs                   int
}

// trackerResult is what a tracker did with announces over HTTP.
type trackerResult struct {
	Tracker     string  `json:"tracker"`
	Peers       int     `json:"peers"` // in all torrents
	Connections int     `json:"connections"`
	Keep        bool    `json:"keep_alive"`
	Announces   int64   `json:"announces"` // of peers that it knows
	Failed      int64   `json:"failed"`    // those of unknown ones too
	PerSecond   float64 `json:"per_second"`
	JoinMicros  float64 `json:"join_cpu_us"` // CPU for each first announce, and for each later one
	Micros      float64 `json:"cpu_us"`
	PeerBytes   float64 `json:"bytes_per_peer"` // of resident memory, at its peak
	Kept        int     `json:"kept"`           // peers that it knows after a restart; -1: it keeps none
	RestartMS   int64   `json:"restart_ms"`
}

func (r *trackerResult) String() string {
	s := fmt.Sprintf("%-11s %d connections, keep-alive %v: %.0f announces/s, %.1f us CPU each (joining %.1f), %d failed, %.0f bytes a peer",
		r.Tracker, r.Connections, r.Keep, r.PerSecond, r.Micros, r.JoinMicros, r.Failed, r.PeerBytes)
	if r.Kept >= 0 {
		s += fmt.Sprintf("; restarted in %d ms with %d of %d peers", r.RestartMS, r.Kept, r.Peers)
	}
	return s
}

// measureTracker puts load on trackers, one after the other.
func measureTracker(ctx context.Context, args []string) error {
	var o trackerOptions
	names := ""
	fs := flag.NewFlagSet("lab tracker", flag.ContinueOnError)
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.StringVar(&names, "trackers", "distd,opentracker", "`NAMES` of the trackers")
	fs.IntVar(&o.torrents, "torrents", 1000, "number of torrents")
	fs.IntVar(&o.peers, "peers", 300, "peers of each")
	fs.IntVar(&o.announces, "announces", 200_000, "announces of peers that the tracker knows")
	fs.IntVar(&o.connections, "connections", 64, "connections at the same time")
	fs.BoolVar(&o.keep, "keep", false, "keep connections, of which aria2 and opentracker open one for each announce")
	fs.IntVar(&o.runs, "runs", 1, "number of runs, in turn")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each")
	if err := parse(fs, args); err != nil {
		return err
	}
	for _, n := range []int{o.torrents, o.peers, o.announces, o.connections, o.runs} {
		if n < 1 {
			return errors.New("all numbers are 1 or more")
		}
	}
	if o.peers > 50_000 {
		return errors.New("peers differ by their ports: no more than 50000")
	}
	var err error
	if o.bin, err = findBinary(o.bin); err != nil {
		return err
	}
	o.trackers = strings.Split(names, ",")
	for range o.runs {
		for _, name := range o.trackers {
			r, err := o.measure(ctx, name)
			if err != nil {
				return err
			}
			if err := show(o.json, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure fills a tracker with peers, has them announce again, and restarts it
// where it keeps them.
func (o *trackerOptions) measure(ctx context.Context, name string) (r *trackerResult, err error) {
	dir, err := os.MkdirTemp("/dev/shm", "lab-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := netip.MustParseAddrPort("127.0.0.2:6969")
	start, err := o.starter(name, dir, at)
	if err != nil {
		return nil, err
	}
	p, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { p.Kill() }()
	l := &announceLoad{to: at, torrents: o.torrents, peers: o.peers, connections: o.connections, keep: o.keep, timeout: 20 * time.Second}
	all := int64(o.torrents * o.peers)
	before, empty := p.CPU(), p.PeakMemory()
	join := l.run(ctx, 0, all)
	between := p.CPU()
	again := l.run(ctx, all, all+int64(o.announces))
	after := p.CPU()
	if err := errors.Join(ctx.Err(), p.Err()); err != nil {
		return nil, err
	}
	if err := errors.Join(join.err, again.err); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %s: first failures: %v\n", name, err)
	}
	r = &trackerResult{Tracker: name, Peers: int(all), Connections: o.connections, Keep: o.keep, Announces: again.ok, Failed: join.failed + again.failed,
		PerSecond: round(float64(again.ok)/again.took.Seconds(), 0), JoinMicros: micros(between-before, all), Micros: micros(after-between, int64(o.announces)),
		PeerBytes: round(float64(p.PeakMemory()-empty)/float64(all), 0), Kept: -1}
	if name == "distd" {
		begin := time.Now()
		p.Stop()
		if p, err = start(ctx); err != nil {
			return nil, err
		}
		r.RestartMS = time.Since(begin).Milliseconds()
		r.Kept, err = knownPeers(ctx, at)
	}
	return r, err
}

func micros(d time.Duration, n int64) float64 { return round(float64(d.Microseconds())/float64(n), 1) }

// starter makes what a tracker needs, and returns how to start it.
func (o *trackerOptions) starter(name, dir string, at netip.AddrPort) (func(context.Context) (*netlab.Proc, error), error) {
	var argv []string
	port := strconv.Itoa(int(at.Port()))
	switch name {
	case "distd":
		argv = []string{o.bin, "tracker", "--dfile", filepath.Join(dir, "dfile"), "--bind", at.Addr().String(), "--port", port}
	case "opentracker":
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "whitelist"), o.hashes(), 0o644)); err != nil {
			return nil, err
		}
		argv = []string{"opentracker", "-i", at.Addr().String(), "-p", port, "-P", port, "-d", dir, "-w", "whitelist", "-u", "nobody"}
	default:
		return nil, fmt.Errorf("%q is none of distd, opentracker", name)
	}
	return func(ctx context.Context) (*netlab.Proc, error) {
		p, err := netlab.Loopback(name, at.Addr()).Start(filepath.Join(dir, "log"), argv...)
		if err != nil {
			return nil, err
		}
		return p, answers(ctx, p, at)
	}, nil
}

// hashes are the infohashes of all torrents, as opentracker wants them.
func (o *trackerOptions) hashes() []byte {
	var all []byte
	for t := range o.torrents {
		all = fmt.Appendf(all, "%x\n", testInfoHash(t))
	}
	return all
}

// answers waits until a process takes connections.
func answers(ctx context.Context, p *netlab.Proc, at netip.AddrPort) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", at.String())
		if err == nil {
			return c.Close()
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

// knownPeers adds up the peers that a scrape of all torrents tells of.
func knownPeers(ctx context.Context, at netip.AddrPort) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/scrape", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !slices.Equal(b[:min(len(b), 8)], []byte("d5:files")) {
		return 0, fmt.Errorf("scrape of all torrents is answered with %.40q, %w", b, err)
	}
	n := 0
	for _, key := range []string{"8:completei", "10:incompletei"} {
		for _, rest := range strings.Split(string(b), key)[1:] {
			digits, _, _ := strings.Cut(rest, "e")
			k, _ := strconv.Atoi(digits)
			n += k
		}
	}
	return n, nil
}
