package serve

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// baseURL is the address under which the client reaches this server, without a
// slash at the end: PublicURL, or else what the request says. It is "" when
// the request says nothing that can be trusted in a URL.
func (s *Server) baseURL(r *http.Request) string {
	if s.base != "" {
		return s.base
	}
	host, ok := validHost(r.Host)
	if !ok {
		return ""
	}
	if r.TLS != nil {
		return "https://" + host
	}
	return "http://" + host
}

const maxHost = 255

// validHost checks a Host header, which anyone can write anything into: a host
// name or address and perhaps a port. It returns it in lower case.
func validHost(raw string) (string, bool) {
	if raw == "" || len(raw) > maxHost {
		return "", false
	}
	host := raw
	if i := strings.LastIndexByte(raw, ':'); i >= 0 && !strings.HasSuffix(raw, "]") {
		port := raw[i+1:]
		host = raw[:i]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return "", false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
	} else if !validName(host) {
		return "", false
	}
	return strings.ToLower(raw), true
}

// validName checks a host name or IPv4 address, loosely: letters, digits, '-'
// and '_', with single dots between.
func validName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c == '.' || c != '-' && !isToken(label[i:i+1]) {
				return false
			}
		}
	}
	return true
}

// sameServer says whether a URL leads to the server with the address base:
// the same host and port.
func sameServer(rawURL, base string) bool {
	a, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	b, err := url.Parse(base)
	if err != nil {
		return false
	}
	return hostPort(a) != "" && hostPort(a) == hostPort(b)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	case u.Scheme == "http":
		port = "80"
	default:
		return ""
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
