package discover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// resolvConf is the file of the system's resolver, resolv.conf(5).
const resolvConf = "/etc/resolv.conf"

// maxResolvConf is how much of the file is read, in bytes.
const maxResolvConf = 64 << 10

// Domains returns the domains that this host searches, the nearest first: those
// of the last search or domain line in /etc/resolv.conf, else the one in the
// host's own name. It is an error when there are none.
func Domains() ([]string, error) { return domainsOf(resolvConf, os.Hostname) }

func domainsOf(path string, hostname func() (string, error)) ([]string, error) {
	conf, err := readStart(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("search domains of this host: %w", err)
	}
	if domains := searched(conf); len(domains) > 0 {
		return domains, nil
	}
	host, err := hostname()
	if err != nil {
		return nil, fmt.Errorf("search domains of this host: %s names none, and its own name is not known: %w", path, err)
	}
	if _, domain, _ := strings.Cut(host, "."); addDomain(nil, domain) != nil {
		return addDomain(nil, domain), nil
	}
	return nil, fmt.Errorf("search domains of this host: there are none: %s has no usable search or domain line, and the host's name %q has no domain", path, host)
}

func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, maxResolvConf))
}

// searched returns the domains of a resolv.conf: of its last search or domain
// line, as the system's resolver has it.
func searched(conf []byte) []string {
	var domains []string
	for line := range bytes.Lines(conf) {
		words := strings.Fields(string(line))
		if len(words) == 0 || words[0] != "search" && words[0] != "domain" {
			continue
		}
		domains = nil
		for _, w := range words[1:] {
			if w[0] == '#' || w[0] == ';' {
				break
			}
			domains = addDomain(domains, w)
		}
	}
	return domains
}

// addDomain adds a domain if it is one and not there yet.
func addDomain(domains []string, d string) []string {
	d = strings.ToLower(strings.TrimSuffix(d, "."))
	// The longest that still has room for the service before it.
	if !hostname("_distds._tcp."+d) || slices.Contains(domains, d) || len(domains) == maxDomains {
		return domains
	}
	return append(domains, d)
}
