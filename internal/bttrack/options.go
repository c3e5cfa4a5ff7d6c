package bttrack

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options are the options with their values read.
type Options struct {
	Dfile, Logfile                string
	Port                          int
	Bind                          []string // none: all addresses
	IPv6, UDP                     bool
	Interval, Expiry, Save        time.Duration
	Rate, MaxPeers                int // announces a second; peers in an answer
	AllowedDir, AllowedList       string
	Look                          time.Duration // between two looks at folder and lists
	AllowedIPs, BannedIPs         string
	AnyGivenIP                    bool
	CompactRequired, KeepDead     bool
	ScrapeOne, ScrapeAll          bool
	InfoPage, ShowNames, AllowGet bool
	Redirect, Favicon             string
	IdleTimeout, HeadTimeout      time.Duration
	// Warnings say what of the command line is not done, and why.
	Warnings []string
}

// ParseOptions reads the options. get returns an option's value, and whether it
// was given.
func ParseOptions(get func(name string) (value string, given bool)) (*Options, error) {
	p := parser{get: get}
	o := &Options{
		Dfile: p.text("dfile"), Logfile: p.text("logfile"), Port: p.number("port", 0, 65535),
		IPv6: p.flag("ipv6_enabled"), UDP: p.flag("udp"),
		Interval: p.seconds("reannounce_interval"), Expiry: p.seconds("timeout_downloaders_interval"), Save: p.seconds("save_dfile_interval"),
		Rate: p.number("announce_rate", 1, 1e6), MaxPeers: p.number("response_size", 1, 1000),
		AllowedDir: p.text("allowed_dir"), AllowedList: p.text("allowed_list"), Look: p.seconds("parse_dir_interval"),
		AllowedIPs: p.text("allowed_ips"), BannedIPs: p.text("banned_ips"), AnyGivenIP: p.number("only_local_override_ip", 0, 2) == 0,
		CompactRequired: p.flag("compact_reqd"), KeepDead: p.flag("keep_dead"),
		InfoPage: p.flag("show_infopage"), ShowNames: p.flag("show_names"), AllowGet: p.flag("allow_get"),
		Redirect: p.text("infopage_redirect"), Favicon: p.text("favicon"),
		IdleTimeout: p.seconds("http_timeout"), HeadTimeout: p.seconds("socket_timeout"),
	}
	o.Bind = strings.FieldsFunc(p.text("bind"), func(r rune) bool { return r == ',' || r == ' ' })
	switch s := p.text("scrape_allowed"); s {
	case "full":
		o.ScrapeOne, o.ScrapeAll = true, true
	case "specific":
		o.ScrapeOne = true
	case "none":
	default:
		p.fail("scrape_allowed", s, "none, specific or full")
	}
	if o.Redirect != "" {
		if u, err := url.Parse(o.Redirect); err != nil || u.Scheme != "http" && u.Scheme != "https" {
			p.fail("infopage_redirect", o.Redirect, "a URL that begins with http:// or https://")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	if o.Dfile == "" {
		return nil, errors.New("tracker needs -dfile, the file that keeps the peers")
	}
	o.complete()
	for _, f := range Flags() {
		if v, given := get(f.Name); f.Idle != "" && given && (f.None == "" || v != f.None) {
			o.warn("%s does nothing here: %s", f.Name, f.Idle)
		}
	}
	return o, nil
}

func (o *Options) warn(format string, args ...any) {
	o.Warnings = append(o.Warnings, fmt.Sprintf(format, args...))
}

// complete makes the options fit each other.
func (o *Options) complete() {
	if o.AllowedList != "" && o.AllowedDir != "" {
		o.warn("allowed_dir is not looked at, since there is allowed_list")
		o.AllowedDir = ""
	}
	if o.AllowGet && o.AllowedDir == "" {
		o.warn("allow_get does nothing without allowed_dir: there are no torrents to give")
	}
	if least := o.Interval * 3 / 2; o.Expiry < least {
		o.warn("peers are forgotten after %v and not after %v: they announce every %v", least, o.Expiry, o.Interval)
		o.Expiry = least
	}
}

// parser reads values and keeps the first mistake.
type parser struct {
	get func(string) (string, bool)
	err error
}

func (p *parser) fail(name, value, want string) {
	if p.err == nil {
		p.err = fmt.Errorf("-%s %q is not %s", name, value, want)
	}
}

func (p *parser) text(name string) string {
	v, _ := p.get(name)
	return v
}

func (p *parser) number(name string, least, most int) int {
	v := p.text(name)
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		p.fail(name, v, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n
}

func (p *parser) flag(name string) bool { return p.number(name, 0, 1) == 1 }

// seconds reads a number of seconds, which may have a fraction, of at least one.
func (p *parser) seconds(name string) time.Duration {
	v := p.text(name)
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= 1 && n <= 1e7) {
		p.fail(name, v, "a number of seconds, 1 or more")
		return 0
	}
	return time.Duration(n * float64(time.Second))
}
