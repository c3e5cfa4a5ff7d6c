package outward

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// proxy decides which requests go through a proxy.
type proxy struct {
	env    bool     // as the environment says
	url    *url.URL // else through this one; nil: through none
	except []string // but not to these
}

// newProxy reads the setting. What NO_PROXY says holds for it too.
func newProxy(setting string, getenv func(string) string) (proxy, error) {
	switch setting {
	case "":
		return proxy{env: true}, nil
	case None:
		return proxy{}, nil
	}
	u, err := url.Parse(setting)
	if err != nil {
		return proxy{}, errors.New("proxy is not a URL such as http://proxy:3128") // the setting may hold a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return proxy{}, fmt.Errorf("proxy %s is not a URL such as http://proxy:3128", u.Redacted())
	}
	no := getenv("NO_PROXY")
	if no == "" {
		no = getenv("no_proxy")
	}
	p := proxy{url: u}
	for e := range strings.SplitSeq(no, ",") {
		if e = strings.ToLower(strings.TrimSpace(e)); e != "" {
			p.except = append(p.except, e)
		}
	}
	return p, nil
}

func (p *proxy) of(r *http.Request) (*url.URL, error) {
	if p.env {
		return http.ProxyFromEnvironment(r)
	}
	if p.url == nil || p.excepts(r.URL) {
		return nil, nil
	}
	return p.url, nil
}

// excepts says whether the host is asked directly: this machine itself, and what
// NO_PROXY names in the ways that the environment's has: a host and all below
// it, only what is below (with a dot in front), an address, a network, each with
// a port or without; "*" is everything.
func (p *proxy) excepts(u *url.URL) bool {
	host, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr, err := netip.ParseAddr(host)
	isAddr := err == nil
	if host == "localhost" || isAddr && addr.Unmap().IsLoopback() {
		return true
	}
	for _, e := range p.except {
		if e == "*" {
			return true
		}
		if net, err := netip.ParsePrefix(e); err == nil {
			if isAddr && net.Contains(addr.Unmap()) {
				return true
			}
			continue
		}
		if h, only, err := net.SplitHostPort(e); err == nil {
			if only != port {
				continue
			}
			e = h
		}
		if named, err := netip.ParseAddr(strings.Trim(e, "[]")); err == nil {
			if isAddr && named.Unmap() == addr.Unmap() {
				return true
			}
			continue
		}
		e = strings.TrimPrefix(e, "*")
		if host == e || strings.HasSuffix(host, "."+strings.TrimPrefix(e, ".")) {
			return true
		}
	}
	return false
}
