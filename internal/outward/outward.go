// Package outward is what a node shows to the servers that it asks: the CAs that
// it trusts, its client certificate, its user names and passwords, and the
// proxies on the way. Clients of the upstream, of mirrors and of trackers share it.
//
// Passwords belong to an origin, that is scheme, host and port, and go nowhere
// else: not along a redirect, and not to another port of the same host.
package outward

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"distd/internal/upstream"
)

// Config names the files and the proxy. Everything may be empty.
type Config struct {
	CA                    string // PEM file of CAs that are trusted besides the system's
	ClientCert, ClientKey string // PEM files
	AuthFile              string // see readAuth
	Proxy                 string // URL, or None; empty: the environment's
}

// None switches proxies off.
const None = "none"

// Access is made of a Config. It is safe for concurrent use.
type Access struct {
	cfg   Config
	tls   *tls.Config
	proxy proxy
	cert  atomic.Pointer[tls.Certificate]
	auth  atomic.Pointer[map[string]*url.Userinfo] // of the file, by origin
	fixed map[string]*url.Userinfo                 // of Adopt, by origin
}

// New reads the files. Its errors name the setting that is wrong, and no
// password.
func New(c Config) (*Access, error) {
	a := &Access{cfg: c, fixed: map[string]*url.Userinfo{}}
	var err error
	if a.tls, err = upstream.TLSConfig(c.CA); err != nil {
		return nil, err
	}
	if a.proxy, err = newProxy(c.Proxy, os.Getenv); err != nil {
		return nil, err
	}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	if c.ClientCert != "" {
		a.tls.GetClientCertificate = a.clientCertificate
	}
	return a, nil
}

// Reload reads the client's certificate and the file of passwords again. On an
// error what was there stays in use.
func (a *Access) Reload() error {
	if a.cfg.AuthFile != "" {
		auth, err := readAuth(a.cfg.AuthFile)
		if err != nil {
			return err
		}
		a.auth.Store(&auth)
	}
	if a.cfg.ClientCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(a.cfg.ClientCert, a.cfg.ClientKey)
	if err != nil {
		return fmt.Errorf("client certificate %s with key %s: %w", a.cfg.ClientCert, a.cfg.ClientKey, err)
	}
	a.cert.Store(&pair)
	return nil
}

// NotAfter is when the client's certificate expires; false when there is none.
func (a *Access) NotAfter() (time.Time, bool) {
	if c := a.cert.Load(); c != nil {
		return c.Leaf.NotAfter, true
	}
	return time.Time{}, false
}

// clientCertificate shows the certificate to servers that accept its CA, and to
// no others: who a node is, is not every mirror's business.
func (a *Access) clientCertificate(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c := a.cert.Load(); r.SupportsCertificate(c) == nil {
		return c, nil
	}
	return &tls.Certificate{}, nil
}

// TLS is a client's TLS configuration, to be cloned before it is changed.
func (a *Access) TLS() *tls.Config { return a.tls.Clone() }

// Adopt takes user and password out of a URL and keeps them for its origin. It
// is to be called before the Access is used.
func (a *Access) Adopt(raw string) (bare string) {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	a.fixed[Origin(u)] = u.User
	u.User = nil
	return u.String()
}

// Userinfo is what to authenticate with at a URL, or nil.
func (a *Access) Userinfo(u *url.URL) *url.Userinfo {
	if u.User != nil {
		return u.User
	}
	at := Origin(u)
	if user := a.fixed[at]; user != nil {
		return user
	}
	if m := a.auth.Load(); m != nil {
		return (*m)[at]
	}
	return nil
}

// Proxy says through which proxy a request goes, as http.Transport wants to
// know it.
func (a *Access) Proxy(r *http.Request) (*url.URL, error) {
	p, err := a.proxy.of(r)
	if p == nil || err != nil || p.User != nil {
		return p, err
	}
	q := *p
	q.User = a.Userinfo(p)
	return &q, nil
}

// Origin names scheme, host and port of a URL.
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// Transport adds the password of its origin to each request.
func (a *Access) Transport(next http.RoundTripper) http.RoundTripper {
	return &transport{a: a, next: next}
}

type transport struct {
	a    *Access
	next http.RoundTripper
}

// RoundTrip sends the request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if user := t.a.Userinfo(r.URL); user != nil && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections passes http.Client's wish on.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
