// Package discover finds nodes by DNS: the SRV records (RFC 2782) of the domains
// that this host searches.
//
// Two services are asked for: _distd._tcp is HTTP, _distds._tcp is HTTPS.
// Records of both in one domain are one set: the lowest priority comes first,
// whichever service it belongs to.
package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what is asked and believed.
const (
	maxDomains = 8  // that are asked for
	maxFound   = 32 // of a domain; what is beyond them comes last by RFC 2782
)

// patience is how long all questions together may take. The system's resolver
// goes on to the next name server after five seconds, and so may ask the second
// one, twice.
const patience = 15 * time.Second

// services are the services that are asked for, with the scheme of their URLs.
var services = [...]struct{ name, scheme string }{{"distd", "http"}, {"distds", "https"}}

// Resolver answers questions for SRV records as net.Resolver does.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// Found is a node that a record names.
type Found struct {
	URL      string // scheme://host:port
	Domain   string // in which the record is
	Priority uint16 // nodes of a lower one are to be tried first
	Weight   uint16 // share among those of the same priority
}

// Lookup asks the domains of this host (Domains). See LookupIn.
func Lookup(ctx context.Context, r Resolver) ([]Found, error) {
	domains, err := Domains()
	if err != nil {
		return nil, err
	}
	return LookupIn(ctx, r, domains)
}

// LookupIn asks each domain for its nodes, all at once and for 15 s at most, and
// returns what was found: the domains in the order given, and the nodes of
// each ordered anew each time by RFC 2782, by priority and by chance according
// to weight. An URL that several records give is there once, at its first place.
//
// A domain without records, or one that says with a target of "." that there is
// no such service, is no error. The error says of each question that was not
// answered, and of each record that cannot be right, what was asked and why;
// what others gave is returned besides.
func LookupIn(ctx context.Context, r Resolver, domains []string) ([]Found, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	domains = domains[:min(len(domains), maxDomains)]
	found := make([][len(services)][]Found, len(domains))
	errs := make([]error, len(domains)*len(services))
	var asking sync.WaitGroup
	for i, domain := range domains {
		for k, s := range services {
			asking.Go(func() {
				found[i][k], errs[i*len(services)+k] = ask(ctx, r, s.name, s.scheme, strings.TrimSuffix(domain, "."))
			})
		}
	}
	asking.Wait()

	var all []Found
	seen := map[string]bool{}
	for _, of := range found {
		set := order(append(of[0], of[1]...))
		for _, f := range set[:min(len(set), maxFound)] {
			if !seen[f.URL] {
				seen[f.URL] = true
				all = append(all, f)
			}
		}
	}
	return all, errors.Join(errs...)
}

// ask asks one question. What it returns is in no order.
func ask(ctx context.Context, r Resolver, service, scheme, domain string) ([]Found, error) {
	question := "_" + service + "._tcp." + domain
	if !hostname(question) {
		return nil, fmt.Errorf("look up SRV records %.80q: that is no domain", question)
	}
	// With a dot at its end no search domain is put behind it again.
	_, records, err := r.LookupSRV(ctx, service, "tcp", domain+".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	if err != nil {
		err = fmt.Errorf("look up SRV records %s: %w (see that the name servers in %s answer for it)", question, err, resolvConf)
	}
	var found []Found
	bad := 0
	for _, rec := range records {
		if rec.Target == "." {
			continue // RFC 2782: decidedly not available
		}
		host := strings.ToLower(strings.TrimSuffix(rec.Target, "."))
		if why := badTarget(host, rec.Port); why != "" {
			if bad++; bad == 1 {
				err = errors.Join(err, fmt.Errorf("SRV record of %s with target %.80q and port %d is not usable: %s", question, rec.Target, rec.Port, why))
			}
			continue
		}
		found = append(found, Found{
			URL: scheme + "://" + host + ":" + strconv.Itoa(int(rec.Port)), Domain: domain, Priority: rec.Priority, Weight: rec.Weight,
		})
	}
	return found, err
}

// badTarget says what is wrong with where a record leads; "" when it is right.
func badTarget(host string, port uint16) string {
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case !hostname(host):
		return "the target is no host name"
	case strings.Trim(last, "0123456789") == "":
		return "the target is an address and no host name"
	case port == 0:
		return "there is no port"
	}
	return ""
}

// hostname says whether s is the name of a host or domain by RFC 1123, without a
// dot at its end. Underscores are let pass, as name servers and browsers do.
func hostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			b := label[i]
			if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_') {
				return false
			}
		}
	}
	return true
}
