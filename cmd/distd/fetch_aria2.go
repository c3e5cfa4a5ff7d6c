package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"distd/internal/config"
)

// unneeded are options of aria2c that scripts give and that change nothing here,
// with the reason. Refused ones would change what the script gets.
var (
	unneeded = map[string]string{
		"allow-piece-length-change":        "a torrent that has changed is another download",
		"always-resume":                    "what can be gone on with always is",
		"async-dns":                        "names are always looked up beside other work",
		"auto-file-renaming":               "nothing is ever renamed to fit; an unknown file in the way is an error, or is replaced with -allow-overwrite",
		"auto-save-interval":               "what is there is recorded every few seconds",
		"bt-detach-seed-only":              "what only seeds never keeps another download waiting",
		"bt-force-encryption":              "use -encryption=require",
		"bt-hash-check-seed":               "what is there already is always hashed before it is seeded",
		"bt-lpd-interface":                 "all interfaces are used",
		"bt-load-saved-metadata":           "a magnet link's torrent is asked of peers each time",
		"bt-max-open-files":                "few files are open at a time in any case",
		"bt-max-peers":                     "the number of peers follows the swarm",
		"bt-metadata-only":                 "",
		"bt-min-crypto-level":              "use -encryption",
		"bt-prioritize-piece":              "pieces come rarest first",
		"bt-remove-unselected-file":        "files that are not selected are never made",
		"bt-request-peer-speed-limit":      "the number of peers follows the swarm",
		"bt-require-crypto":                "use -encryption=require",
		"bt-save-metadata":                 "the torrent of a magnet link is not written",
		"bt-seed-unverified":               "only what was verified is seeded",
		"bt-tracker-connect-timeout":       "trackers are asked again by themselves",
		"bt-tracker-interval":              "the tracker says when it wants to be asked again",
		"bt-tracker-timeout":               "trackers are asked again by themselves",
		"conditional-get":                  "use -follow to fetch what changes",
		"connect-timeout":                  "time-outs are set by what is measured",
		"console-log-level":                "use -log-level",
		"content-disposition-default-utf8": "the URL names the file, or -o",
		"dht-file-path6":                   "-dht-file-path has nodes of both families of addresses",
		"dht-listen-addr6":                 "the DHT is where peers are listened for",
		"dht-message-timeout":              "time-outs are set by what is measured",
		"disk-cache":                       "memory is bounded by itself",
		"download-result":                  "a line for each download is printed at its end; -json has more",
		"enable-color":                     "",
		"enable-dht6":                      "the DHT has the families of addresses that the port for peers has",
		"enable-http-keep-alive":           "connections are always kept",
		"enable-http-pipelining":           "it is of no use with parallel connections",
		"enable-mmap":                      "files are never mapped",
		"enable-peer-exchange":             "peers always tell each other of peers",
		"event-poll":                       "",
		"file-allocation":                  "files grow as pieces come",
		"follow-metalink":                  "",
		"follow-torrent":                   "",
		"force-save":                       "there is no session file",
		"force-sequential":                 "URLs of different names are different downloads in any case",
		"http-accept-gzip":                 "content is fetched as it is",
		"http-no-cache":                    "",
		"human-readable":                   "",
		"keep-unfinished-download-result":  "every download has its line",
		"log":                              "the log goes to standard error",
		"lowest-speed-limit":               "a connection that is too slow is replaced by itself",
		"max-file-not-found":               "a mirror without the file is left alone, and tried again",
		"max-resume-failure-tries":         "what can be gone on with always is",
		"max-tries":                        "failures are tried again with growing pauses",
		"metalink-enable-unique-protocol":  "all mirrors are used",
		"metalink-preferred-protocol":      "all mirrors are used",
		"min-tls-version":                  "TLS 1.2 is the least in any case",
		"no-conf":                          "",
		"no-netrc":                         "no netrc is read; use -auth-file",
		"optimize-concurrent-downloads":    "",
		"parameterized-uri":                "",
		"peer-agent":                       "",
		"peer-id-prefix":                   "",
		"piece-length":                     "the length of pieces is the torrent's",
		"realtime-chunk-checksum":          "every piece is always checked when it comes",
		"remote-time":                      "files have the time at which they were written",
		"remove-control-file":              "there is none",
		"retry-wait":                       "failures are tried again with growing pauses",
		"reuse-uri":                        "every mirror is used as long as it is of use",
		"rlimit-nofile":                    "few files are open at a time in any case",
		"save-not-found":                   "there is no session file",
		"server-stat-of":                   "mirrors are measured each time",
		"server-stat-if":                   "mirrors are measured each time",
		"show-console-readout":             "",
		"socket-recv-buffer-size":          "the system sets it",
		"stderr":                           "",
		"stream-piece-selector":            "",
		"summary-interval":                 "",
		"timeout":                          "time-outs are set by what is measured",
		"truncate-console-readout":         "",
		"uri-selector":                     "mirrors are chosen by their tier and measured speed",
		"use-head":                         "",
	}
	refused = map[string]string{
		"daemon":          "run it with systemd-run, or with & in a shell",
		"dry-run":         "use distd torrent show, or curl -I",
		"enable-rpc":      "a daemon (distd -role=leaf) has /v1/status and distd status",
		"header":          "for passwords use -auth-file, for a certificate -client-cert",
		"http-passwd":     "use -auth-file, so that the password is not in the list of processes",
		"http-user":       "use -auth-file, so that the password is not in the list of processes",
		"load-cookies":    "use -auth-file or -client-cert",
		"netrc-path":      "use -auth-file, which has the same form with origins in place of hosts",
		"hash-check-only": "use distd torrent verify",
		"index-out":       "a torrent's names are its own",
		"save-session":    "run the same command again; it goes on where it was",
		"stop":            "use timeout(1)",
	}
)

// optional are options of aria2c that take a value only behind "=".
var optional = []string{
	"allow-piece-length-change", "always-resume", "async-dns", "auto-file-renaming", "bt-detach-seed-only", "bt-force-encryption",
	"bt-hash-check-seed", "bt-load-saved-metadata", "bt-metadata-only", "bt-remove-unselected-file", "bt-require-crypto", "bt-save-metadata",
	"bt-seed-unverified", "conditional-get", "content-disposition-default-utf8", "daemon", "dry-run", "enable-color", "enable-dht6",
	"enable-http-keep-alive", "enable-http-pipelining", "enable-mmap", "enable-peer-exchange", "enable-rpc", "follow-metalink", "follow-torrent", "force-save",
	"force-sequential", "hash-check-only", "http-accept-gzip", "http-no-cache", "human-readable", "keep-unfinished-download-result",
	"metalink-enable-unique-protocol", "no-conf", "no-netrc", "optimize-concurrent-downloads", "parameterized-uri", "realtime-chunk-checksum",
	"remote-time", "remove-control-file", "reuse-uri", "save-not-found", "show-console-readout", "stderr", "truncate-console-readout", "use-head",
}

// shortOptions are aria2c's options of one letter that are not flags here.
var shortOptions = map[byte]string{
	'a': "file-allocation", 'D': "daemon", 'l': "log", 'm': "max-tries", 'n': "no-netrc", 'O': "index-out",
	'P': "parameterized-uri", 'R': "remote-time", 't': "timeout", 'Z': "force-sequential",
}

// aria2Args makes a command line as aria2c has it one of distd fetch: what needs
// no answer here is taken out, with a warning that says why, and letters with
// their value behind them (-x16) are taken apart.
type aria2Args struct {
	flags    map[string]bool // known here, and whether it takes a value
	out      []string
	warnings []string
}

func newAria2Args(flags []cli.Flag) *aria2Args {
	a := &aria2Args{flags: map[string]bool{}}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			a.flags[name] = !isBool
		}
	}
	for _, help := range []string{"h", "help"} {
		a.flags[help] = false
	}
	return a
}

// translate reads the arguments behind the verb.
func (a *aria2Args) translate(args []string) error {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			a.out = append(a.out, args[i:]...)
			return nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			a.out = append(a.out, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		takes, known := a.flags[name]
		if !known && !strings.HasPrefix(arg, "--") && !isLong(name) {
			args = slices.Concat(args[:i:i], a.letters(arg[1:]), args[i+1:])
			i--
			continue
		}
		switch {
		case known && takes && !hasValue && i+1 < len(args):
			a.out = append(a.out, arg, args[i+1]) // whatever the value looks like
			i++
		case known:
			a.out = append(a.out, arg)
		default:
			used, err := a.foreign(name, value, arg)
			if err != nil {
				return err
			}
			if used && !hasValue && !slices.Contains(optional, name) {
				i++ // its value
			}
		}
	}
	return nil
}

// isLong says whether it is the name of an option and not letters.
func isLong(name string) bool {
	return unneeded[name] != "" || refused[name] != "" || slices.Contains(optional, name)
}

// letters takes apart options of one letter: -x16 and -cVq.
func (a *aria2Args) letters(s string) []string {
	var out []string
	for len(s) > 0 {
		c := s[0]
		name := cmp.Or(shortOptions[c], string(c))
		takes, known := a.flags[name]
		if !known {
			if shortOptions[c] == "" {
				return append(out, "--"+s) // an unknown flag, to be reported as it was written
			}
			takes = !slices.Contains(optional, name)
		}
		if !takes {
			out = append(out, "--"+name)
			s = s[1:]
			continue
		}
		if s = strings.TrimPrefix(s[1:], "="); s == "" {
			return append(out, "--"+name) // its value is the next argument
		}
		return append(out, "--"+name+"="+s)
	}
	return out
}

// foreign deals with an option that is no flag here, and reports whether it is
// one of aria2c's.
func (a *aria2Args) foreign(name, value, arg string) (bool, error) {
	if why := refused[name]; why != "" && value != "false" {
		return false, usagef("-%s is not to be had: %s", name, why)
	}
	if strings.HasPrefix(name, "follow-") && value == "false" {
		return false, usagef("-%s=false is not to be had: torrents and metalinks are always followed and not kept; use curl to get the file itself", name)
	}
	why, ok := unneeded[name]
	if !ok && refused[name] == "" {
		a.out = append(a.out, arg)
		return false, nil
	}
	// A wish that is granted in any case is worth no word.
	if why != "" && value != "false" {
		a.warnings = append(a.warnings, fmt.Sprintf("-%s is not needed: %s", name, why))
	}
	return true, nil
}

// aria2Fetch translates the command line of distd fetch; others stay as they are.
func aria2Fetch(args []string) (translated, warnings []string, err error) {
	if len(args) < 2 || args[1] != "fetch" {
		return args, nil, nil
	}
	a := newAria2Args(fetchCommand().Flags)
	a.out = slices.Clone(args[:2])
	err = a.translate(args[2:])
	return a.out, a.warnings, err
}

// aria2Size reads a size as aria2c has it: a number, with K or M for 1024 and
// 1024 squared.
func aria2Size(text string) (int64, error) {
	digits, unit := text, int64(1)
	switch {
	case strings.HasSuffix(strings.ToUpper(text), "K"):
		digits, unit = text[:len(text)-1], 1<<10
	case strings.HasSuffix(strings.ToUpper(text), "M"):
		digits, unit = text[:len(text)-1], 1<<20
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		var b config.Bytes
		if b.UnmarshalText([]byte(text)) != nil || b < 0 {
			return 0, fmt.Errorf("%q is not a size such as 512K or 10M", text)
		}
		return int64(b), nil
	}
	return n * unit, nil
}

// aria2Rate reads a limit as aria2c has it; what is less than can be kept to is
// raised to that.
func aria2Rate(text string) (config.Timetable, error) {
	n, err := aria2Size(text)
	if err != nil {
		return config.Timetable{}, err
	}
	if n > 0 {
		n = max(n, config.MinRate)
	}
	return config.Always(config.Rate(n)), nil
}
