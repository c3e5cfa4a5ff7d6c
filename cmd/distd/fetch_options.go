package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/node"
	"distd/internal/zone"
	"distd/pkg/torrentfile"
)

// fetchOptions reads the flags of fetch.
func fetchOptions(cmd *cli.Command) (node.FetchOptions, error) {
	o := node.FetchOptions{
		Dir: cmd.String("d"), Output: cmd.String("o"), Listen: cmd.String("listen"), CA: cmd.String("ca"), ClientCert: cmd.String("client-cert"), ClientKey: cmd.String("client-key"),
		AuthFile: cmd.String("auth-file"), Proxy: cmd.String("proxy"), IPv4: cmd.Bool("disable-ipv6"), Check: cmd.Bool("V"), Continue: cmd.Bool("c"), Overwrite: cmd.Bool("allow-overwrite"),
		Encryption: cmd.String("encryption"), Parallel: cmd.Int("j"), MaxConns: cmd.Int("x"), Split: cmd.Int("s"), Congestion: "bbr", Version: version(), SeedTime: -1,
		Prefer: cmd.StringSlice("metalink-location"), Trackers: cmd.StringSlice("bt-tracker"), StopTimeout: time.Duration(cmd.Int("bt-stop-timeout")) * time.Second,
		Interval: cmd.Duration("follow-interval"),
		Hooks: node.FetchHooks{
			Start: cmd.String("on-download-start"), Whole: cmd.String("on-bt-download-complete"), Complete: cmd.String("on-download-complete"),
			Error: cmd.String("on-download-error"), Stop: cmd.String("on-download-stop"),
		},
	}
	for _, read := range []func(*cli.Command, *node.FetchOptions) error{fetchInputs, fetchSeeding, fetchLimits, fetchChecks, fetchContent, fetchDHT} {
		if err := read(cmd, &o); err != nil {
			return o, err
		}
	}
	level := zap.NewAtomicLevel()
	setLevel(level, logLevel(cmd))
	o.Log = newLogger(cmd.Root().ErrWriter, "auto", level)
	return o, nil
}

// fetchDHT reads where peers are found without a tracker.
func fetchDHT(cmd *cli.Command, o *node.FetchOptions) error {
	nodes, on, public, err := config.ParseDHT(cmd.StringSlice("dht"))
	if err != nil {
		return usagef("%w", err)
	}
	o.LSD = cmd.Bool("lsd")
	o.DHT = node.FetchDHT{Off: !on || !cmd.Bool("enable-dht"), Wanted: cmd.IsSet("dht") || cmd.IsSet("enable-dht"), Nodes: nodes, Public: public, Ports: cmd.String("dht-listen-port"), File: cmd.String("dht-file-path")}
	if o.DHT.Ports != "" {
		if err := node.CheckPorts(o.DHT.Ports); err != nil {
			return usagef("dht-listen-port %w", err)
		}
	}
	return nil
}

// logLevel knows aria2c's word too.
func logLevel(cmd *cli.Command) string {
	switch l := cmd.String("log-level"); {
	case l == "notice":
		return "info"
	case cmd.Bool("q") && !cmd.IsSet("log-level"):
		return "error"
	default:
		return l
	}
}

// fetchInputs collects what is to be fetched.
func fetchInputs(cmd *cli.Command, o *node.FetchOptions) error {
	o.Inputs = slices.Concat(cmd.Args().Slice(), cmd.StringSlice("T"))
	if file := cmd.String("i"); file != "" {
		more, err := readInputs(cmd, file)
		if err != nil {
			return err
		}
		o.Inputs = append(o.Inputs, more...)
	}
	if len(o.Inputs) == 0 {
		return usagef("fetch wants something to fetch: a torrent, a metalink, a magnet link or a URL")
	}
	return nil
}

// maxInputLine is the longest line of a list of inputs, in bytes.
const maxInputLine = 1 << 20

// readInputs reads a list as aria2c has it. Options, which stand in lines that
// begin with white space, cannot be kept to for one input alone.
func readInputs(cmd *cli.Command, file string) ([]string, error) {
	in := cmd.Root().Reader
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	var out []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxInputLine)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			return nil, usagef("%s: option %q of a single input: give it on the command line, for a command of its own", file, strings.TrimSpace(line))
		default:
			out = append(out, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return out, nil
}

func fetchSeeding(cmd *cli.Command, o *node.FetchOptions) error {
	ratio, err := strconv.ParseFloat(cmd.String("seed-ratio"), 64)
	if err != nil || ratio < 0 {
		return usagef("seed-ratio %q is not a number such as 1.0", cmd.String("seed-ratio"))
	}
	o.SeedRatio = ratio
	if text := cmd.String("seed-time"); text != "" {
		minutes, err := strconv.ParseFloat(text, 64)
		if err != nil || minutes < 0 {
			return usagef("seed-time %q is not a number of minutes", text)
		}
		o.SeedTime = time.Duration(minutes * float64(time.Minute))
	}
	if port := cmd.String("listen-port"); port != "" {
		if err := node.CheckPorts(port); err != nil {
			return usagef("listen-port %w", err)
		}
		o.Listen = ":" + port
	}
	return nil
}

// fetchLimits reads which mirrors may be used, and how fast.
func fetchLimits(cmd *cli.Command, o *node.FetchOptions) (err error) {
	o.Locations = config.Locations{Only: cmd.StringSlice("location"), Except: cmd.StringSlice("exclude-location")}
	if err := o.Locations.Check(); err != nil {
		return usagef("%w", err)
	}
	for name, to := range map[string]*config.Timetable{"up": &o.Up, "down": &o.Down, "wan-down": &o.WANDown} {
		if *to, err = config.ParseTimetable(cmd.String(name)); err != nil {
			return usagef("-%s %w", name, err)
		}
	}
	for name, to := range map[string]*config.Timetable{"max-overall-upload-limit": &o.Up, "max-overall-download-limit": &o.Down} {
		if !cmd.IsSet(name) {
			continue
		}
		if *to, err = aria2Rate(cmd.String(name)); err != nil {
			return usagef("-%s %w", name, err)
		}
	}
	if text := cmd.String("k"); text != "" {
		if o.MinSplit, err = aria2Size(text); err != nil {
			return usagef("-k %w", err)
		}
	}
	return nil
}

// fetchChecks refuses what cannot work.
func fetchChecks(cmd *cli.Command, o *node.FetchOptions) error {
	switch {
	case !cmd.Bool("check-certificate"):
		return usagef("check-certificate=false is not to be had: who cannot show who it is may be anybody. Name the server's CA, or its own certificate if it is self-signed, with -ca=FILE; " +
			"it is shown by: openssl s_client -connect HOST:PORT -showcerts")
	case (o.ClientCert == "") != (o.ClientKey == ""):
		return usagef("client-cert and client-key go together")
	case o.MaxConns < 1:
		return usagef("x must be 1 or more")
	case o.Interval < time.Second:
		return usagef("follow-interval must be 1s or more")
	case o.Parallel < 1:
		return usagef("j must be 1 or more")
	case o.Split < 0:
		return usagef("s must be 0 or more")
	case o.StopTimeout < 0:
		return usagef("bt-stop-timeout must be 0 or more")
	case !slices.Contains([]string{"off", "allow", "require"}, o.Encryption):
		return usagef("encryption %q is none of off, allow, require", o.Encryption)
	}
	var err error
	if o.ZoneNet, err = zone.ParseNets(cmd.StringSlice("zone-net")); err != nil {
		return usagef("zone-net %w", err)
	}
	if l := cmd.String("log-level"); !slices.Contains([]string{"debug", "info", "notice", "warn", "error"}, l) {
		return usagef("log-level %q is none of debug, info, warn, error", l)
	}
	return nil
}

// digests are the kinds of checksum, by their number of hex digits.
var digests = map[string]int{"sha-512": 128, "sha-256": 64, "sha-1": 40, "md5": 32}

// fetchContent reads what is wanted of the content.
func fetchContent(cmd *cli.Command, o *node.FetchOptions) error {
	if text := cmd.String("select-file"); text != "" {
		ranges, err := torrentfile.ParseRanges(text)
		if err != nil {
			return usagef("select-file %w", err)
		}
		for i := range ranges {
			if ranges[i].First == 0 {
				return usagef("select-file %q: files are counted from 1", text)
			}
			ranges[i].First--
			ranges[i].Last--
		}
		o.Select = ranges
	}
	if text := cmd.String("checksum"); text != "" {
		kind, digest, _ := strings.Cut(strings.ToLower(text), "=")
		if b, err := hex.DecodeString(digest); err != nil || digests[kind] == 0 || 2*len(b) != digests[kind] {
			return usagef("checksum %q is not TYPE=DIGEST with sha-512, sha-256, sha-1 or md5 and hex digits", text)
		}
		o.Checksum = map[string]string{kind: digest}
	}
	return nil
}
