// Package upstream is the client of the HTTP tree that a node's upstream
// serves: another distd node, or any web server, CDN or bucket with the same
// files.
//
// Nothing that comes from there is believed: every body has a cap and a time
// limit, redirects that leave the upstream's host are refused, and signatures
// are left to the caller, who has the key. New releases are heard of by
// server-sent events, or by polling where there are none.
//
// A Client has no goroutines of its own but the idle connections, which Close
// ends; Watch ends what it has started before it returns.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/names"
)

// Options are the settings of a Client. The zero value of each stands for its
// default.
type Options struct {
	// CA is a file of PEM certificates that are trusted beside the system's. TLS
	// takes its place when it is set.
	CA  string
	TLS *tls.Config
	// Proxy gives the proxy for a request; nil: as the environment says.
	Proxy func(*http.Request) (*url.URL, error)
	// Auth gives user and password for a URL; nil, or nil returned: those in the
	// base, if there are any.
	Auth func(*url.URL) *url.Userinfo
	// Timeout is the time for a whole small file; large ones get more, by
	// the size they may have. Stall is how long a body may bring nothing.
	Timeout, Stall time.Duration
	// PollInterval is the pause between two looks at latest.json where the
	// upstream has no events.
	PollInterval time.Duration
	// Silence is how long an event stream may bring nothing, not even a ping.
	Silence time.Duration
	// RetryMax is the longest pause before another try to connect.
	RetryMax  time.Duration
	UserAgent string
	// Dial replaces the system's way to connect.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Traffic counts in which form documents come; nil: the client's own does.
	Traffic *Traffic
	// Short, when it is set, is given each short form that was good: of a document,
	// with the base that it is read with, "" for none.
	Short func(id, doc, base string, packed []byte)
	Log   *zap.Logger
}

func (o Options) withDefaults() Options {
	set := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&o.Timeout, 30*time.Second)
	set(&o.Stall, 20*time.Second)
	set(&o.PollInterval, 10*time.Second)
	set(&o.Silence, 45*time.Second)
	set(&o.RetryMax, 10*time.Second)
	if o.UserAgent == "" {
		o.UserAgent = "distd"
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	if o.Traffic == nil {
		o.Traffic = &Traffic{}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// Client reads the tree of one upstream. It is safe for concurrent use.
type Client struct {
	base *url.URL // no slash at the end of its path, and no password
	user *url.Userinfo
	opts Options
	tls  *tls.Config
	http *http.Client
	log  *zap.Logger

	traffic *Traffic

	contact atomic.Pointer[Contact]

	mu       sync.Mutex
	pointers map[string]pointer // by channel: what was read last
	told     map[string]pointer // by channel: what an event has brought since
}

const (
	maxRedirects = 5
	maxHeader    = 64 << 10
)

// New returns a client of the tree at base, an http or https URL.
func New(base string, o Options) (*Client, error) {
	u, err := parseBase(base)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	user := u.User
	u.User = nil
	conf := o.TLS
	if conf == nil {
		if conf, err = TLSConfig(o.CA); err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u, err)
		}
	}
	return &Client{
		base: u,
		user: user,
		opts: o,
		tls:  conf,
		log:  o.Log,

		traffic: o.Traffic,
		http: &http.Client{
			CheckRedirect: checkRedirect,
			Transport: &http.Transport{
				Proxy:                  o.Proxy,
				DialContext:            o.Dial,
				TLSClientConfig:        conf.Clone(),
				TLSHandshakeTimeout:    15 * time.Second,
				ResponseHeaderTimeout:  o.Stall,
				MaxResponseHeaderBytes: maxHeader,
				// Questions share the connection of the events: over a long link
				// another handshake would cost more than the answer.
				ForceAttemptHTTP2:   true,
				MaxConnsPerHost:     16,
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     90 * time.Second,
				// A compressed body could be a thousand times its size.
				DisableCompression: true,
			},
		},
		pointers: map[string]pointer{},
		told:     map[string]pointer{},
	}, nil
}

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL may hold a password
		}
		return nil, fmt.Errorf("upstream URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("upstream %q is not an http or https URL", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("upstream %q has no host", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("upstream %q has a query or fragment", u.Redacted())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// TLSConfig is a client's TLS configuration: TLS 1.2 at least, the system's
// certificates and those of the PEM file, if one is given.
func TLSConfig(caFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no PEM certificate", caFile)
	}
	conf.RootCAs = pool
	return conf, nil
}

// checkRedirect follows redirects on the same server only. A redirect
// elsewhere would let whoever answers once decide where everything comes from.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if req.URL.Scheme != first.Scheme || !strings.EqualFold(req.URL.Host, first.Host) {
		return fmt.Errorf("%w to %s://%s; set the upstream to that URL if it is right", ErrRedirect, req.URL.Scheme, req.URL.Host)
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d in a row", ErrRedirect, maxRedirects)
	}
	return nil
}

// Contact is how a Watch stands with its upstream.
type Contact struct {
	// Err is why the upstream cannot be followed; nil while it is.
	Err error
	// Since is when this began.
	Since time.Time
}

// Contact returns how the Watch stands with the upstream, and false before it
// has reached it or failed to.
func (c *Client) Contact() (Contact, bool) {
	if s := c.contact.Load(); s != nil {
		return *s, true
	}
	return Contact{}, false
}

// met notes that the upstream was reached, or why not. Only one goroutine, that
// of the Watch, calls it.
func (c *Client) met(err error) {
	now := Contact{Err: err, Since: time.Now()}
	if old := c.contact.Load(); old != nil && (old.Err == nil) == (err == nil) {
		now.Since = old.Since
	}
	c.contact.Store(&now)
}

// Base is the upstream's URL, without user and password and without a slash at
// the end.
func (c *Client) Base() string { return c.base.String() }

// TLS is a copy of the client's TLS configuration, for others that speak with
// the same upstream.
func (c *Client) TLS() *tls.Config { return c.tls.Clone() }

// Close gives up the idle connections. The client can be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// url is the URL of a path of the tree, which must not need escaping.
func (c *Client) url(path string) *url.URL { return c.base.JoinPath(path) }

// MetaURL is the URL of a file beside the release's content. All that may be
// escaped is: buckets take a "+" in a path for a space.
func (c *Client) MetaURL(id, file string) string {
	return c.base.JoinPath("releases", id, manifest.EscapePath(file)).String()
}

// ContentURL is the URL of a file of the release's content; path is slash
// separated and begins with the release's name.
func (c *Client) ContentURL(id, path string) string {
	return c.base.JoinPath("releases", id, "content", manifest.EscapePath(path)).String()
}

func checkChannel(channel string) error {
	if err := names.Channel(channel); err != nil {
		return fmt.Errorf("ask upstream: %w", err)
	}
	return nil
}
