package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"distd/test/netlab"
)

// wanCommand is the flags of lab wan.
type wanCommand struct {
	wanOptions
	bin, dir, server, mirror2 string
	clients, fetchFlags       []string
	mib, runs                 int
	second                    float64 // rate of the second mirror, of the first; 0: there is none
	timeout                   time.Duration
	json                      bool
}

// download is what a fetcher gave.
type download struct {
	Client string  `json:"client"`
	Server string  `json:"server"`
	Mbit   float64 `json:"mbit"`
	Second float64 `json:"second_mbit,omitempty"`
	RTT    string  `json:"rtt"`
	Loss   float64 `json:"loss_percent"`
	CC     string  `json:"cc"`
	MiB    int     `json:"mib"`

	Seconds   float64   `json:"seconds"`
	Over      float64   `json:"over_link"`           // of size / rate
	Copies    []float64 `json:"copies"`              // over each link, headers included
	ClientCPU float64   `json:"client_cpu_per_gib"`  // seconds
	ServerCPU float64   `json:"servers_cpu_per_gib"` // seconds, all servers
	LinkCPU   float64   `json:"link_cpu_per_gib"`    // seconds of the lab itself
	PeakMiB   float64   `json:"peak_mib"`            // resident memory of the client
	Lost      int64     `json:"lost_packets"`
	Dropped   int64     `json:"dropped_packets"`
}

func (d *download) String() string {
	return fmt.Sprintf("%-10s %d MiB, %g Mbit/s %s %g%% %s: %.2f times the line's own time (%.2f s)  copies %v  CPU s for each GiB client %.2f server %.2f link %.2f  peak %.0f MiB  packets lost %d dropped %d",
		d.Client, d.MiB, d.Mbit+d.Second, d.RTT, d.Loss, d.CC, d.Over, d.Seconds, d.Copies, d.ClientCPU, d.ServerCPU, d.LinkCPU, d.PeakMiB, d.Lost, d.Dropped)
}

// wanTask is what a fetcher is to do.
type wanTask struct {
	*netlab.Wan
	dir  string
	o    *wanCommand
	file string // where the content goes
}

// fetchers are the commands that lab wan knows. Those with two mirrors are given
// both where they can use both.
var fetchers = map[string]func(t wanTask) []string{
	"distd": func(t wanTask) []string {
		what := t.URLs[0]
		if len(t.URLs) > 1 {
			what = t.Metalink
		}
		return append(append([]string{t.o.bin, "fetch", "-d", t.dir, "-ca=" + t.CA, "-seed-time=0"}, t.o.fetchFlags...), what)
	},
	"curl": func(t wanTask) []string { return []string{"curl", "-s", "--cacert", t.CA, "-o", t.file, t.URLs[0]} },
	"aria2c": func(t wanTask) []string {
		return append([]string{"aria2c", "--no-conf", "-q", "--ca-certificate=" + t.CA, "--disable-ipv6", "-V", "-d", t.dir}, t.URLs...)
	},
	"aria2c-x16": func(t wanTask) []string {
		return append([]string{"aria2c", "--no-conf", "-q", "--ca-certificate=" + t.CA, "-x16", "-s16", "-k1M", "--file-allocation=none", "-d", t.dir}, t.URLs...)
	},
	"axel": func(t wanTask) []string {
		return append([]string{"axel", "-q", "-k", "-n16", "-o", t.file}, t.URLs...)
	},
}

// wan has fetchers download one file over a long link, one after the other.
func wan(ctx context.Context, args []string) error {
	var o wanCommand
	fs := flag.NewFlagSet("lab wan", flag.ContinueOnError)
	o.wanOptions.flags(fs, "rate")
	fs.StringVar(&o.bin, "bin", "bin/distd", "the distd `FILE` to measure")
	fs.StringVar(&o.dir, "dir", "/dev/shm", "`FOLDER` for the content and its copies; it should be in memory")
	fs.StringVar(&o.server, "server", "distd", "what serves over HTTPS: distd (a master that has published) or nginx")
	fs.IntVar(&o.mib, "size", 64, "size of the file in MiB")
	fs.IntVar(&o.runs, "runs", 1, "number of runs of each")
	fs.Func("clients", "`LIST` of what downloads, each in turn: "+strings.Join(slices.Sorted(maps.Keys(fetchers)), ",")+" (default distd)", func(s string) error {
		o.clients = append(o.clients, strings.Split(s, ",")...)
		return nil
	})
	fs.StringVar(&o.mirror2, "mirror2", "", "a second mirror on a long link of its own, whose rate is this `PART` of the first's, such as 1/5 or 0.2 (curl uses the first only)")
	fs.Func("fetch-flag", "a further `FLAG` of distd fetch; may be given several times", func(s string) error {
		o.fetchFlags = append(o.fetchFlags, s)
		return nil
	})
	fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give a download up after this time")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each download")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	return o.measure(ctx)
}

func (o *wanCommand) check() (err error) {
	if o.bin, err = findBinary(o.bin); err != nil {
		return err
	}
	if err := o.wanOptions.check(); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("the lab wants root")
	}
	if o.mib < 1 || o.runs < 1 {
		return errors.New("size and runs are 1 or more")
	}
	if o.server != "distd" && o.server != "nginx" {
		return fmt.Errorf("-server=%s is neither distd nor nginx", o.server)
	}
	if len(o.clients) == 0 {
		o.clients = []string{"distd"}
	}
	for _, c := range o.clients {
		argv, ok := fetchers[c]
		if !ok {
			return fmt.Errorf("%q is none of %s", c, strings.Join(slices.Sorted(maps.Keys(fetchers)), ", "))
		}
		if _, err := exec.LookPath(argv(wanTask{Wan: &netlab.Wan{URLs: []string{""}}, o: o})[0]); err != nil {
			return err
		}
	}
	o.second, err = parsePart(o.mirror2)
	return err
}

// parsePart reads a part such as 1/5 or 0.2; empty is 0.
func parsePart(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	above, below, isFraction := strings.Cut(s, "/")
	a, err := strconv.ParseFloat(above, 64)
	b := 1.0
	if isFraction && err == nil {
		b, err = strconv.ParseFloat(below, 64)
	}
	if err != nil || a <= 0 || b <= 0 {
		return 0, fmt.Errorf("%q is not a part such as 1/5", s)
	}
	return a / b, nil
}

func (o *wanCommand) measure(ctx context.Context) error {
	// Two copies, and one more that is being fetched: see touch.
	if err := touch(ctx, o.dir, 3*int64(o.mib)<<20); err != nil {
		return err
	}
	var errs []error
	for run := range o.runs {
		links := []netlab.Long{o.long(run)}
		if o.second > 0 {
			l := o.long(run + 1000)
			l.Mbit *= o.second
			links = append(links, l)
		}
		errs = append(errs, o.round(ctx, netlab.WanSpec{Distd: o.bin, Dir: o.dir, Server: o.server, Size: int64(o.mib) << 20, Links: links}))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// round has each fetcher download once.
func (o *wanCommand) round(ctx context.Context, spec netlab.WanSpec) (err error) {
	w, err := netlab.NewWan(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var errs []error
	for _, c := range o.clients {
		one, stop := context.WithTimeout(ctx, o.timeout)
		f, err := w.Fetch(one, func(dir string) []string {
			return fetchers[c](wanTask{Wan: w, dir: dir, o: o, file: filepath.Join(dir, "payload")})
		})
		stop()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c, err))
			continue
		}
		d := o.result(c, f)
		errs = append(errs, show(o.json, d))
	}
	return errors.Join(errs...)
}

func (o *wanCommand) result(client string, f *netlab.Fetched) *download {
	size := float64(o.mib) * (1 << 20)
	gib := size / (1 << 30)
	d := &download{Client: client, Server: o.server, Mbit: o.mbit, Second: o.mbit * o.second, RTT: o.rtt.String(), Loss: o.loss, CC: o.cc, MiB: o.mib,
		Seconds: round(f.Took.Seconds(), 2), Over: round(f.Took.Seconds()/(size*8/(o.mbit*(1+o.second)*1e6)), 3),
		ClientCPU: round(f.ClientCPU.Seconds()/gib, 2), ServerCPU: round(f.ServerCPU.Seconds()/gib, 2), LinkCPU: round(f.LinkCPU.Seconds()/gib, 2),
		PeakMiB: round(float64(f.Peak)/(1<<20), 1)}
	for _, c := range f.Over {
		d.Copies = append(d.Copies, round(float64(c.Bytes)/size, 3))
		d.Lost, d.Dropped = d.Lost+c.Lost, d.Dropped+c.Dropped
	}
	return d
}
