package httpfetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ClientConfig says how connections are made.
type ClientConfig struct {
	// TLS may bring CAs and client certificates. Verification is switched on
	// whatever it says, and HTTP/1.1 is the only protocol offered: parallel
	// ranges want connections of their own.
	TLS *tls.Config
	// Proxy gives the proxy for a request, as http.ProxyFromEnvironment does.
	// Nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Auth gives user and password for a URL that has none in it. It must go by
	// scheme, host and port. Nil, or nil returned: none are sent.
	Auth func(*url.URL) *url.Userinfo
	// Network is what connections are made over: "tcp" when empty, or "tcp4" or
	// "tcp6" for one family of addresses.
	Network string
	// Dial replaces the dialling of TCP connections.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// AllowRedirect permits a redirect to another host. Nil: never. A redirect
	// from https to http is always refused, and credentials stay behind.
	AllowRedirect func(from, to *url.URL) bool
	UserAgent     string
	// Congestion is the congestion control to ask the kernel for: "bbr" when
	// empty, "default" for the kernel's own.
	Congestion string
	// Tune sets options of each new TCP connection, before anything is sent; nil
	// means none.
	Tune func(net.Conn)
	// DialTimeout bounds connecting and the TLS handshake, each.
	DialTimeout time.Duration
	// MaxIdle is how many unused connections are kept for each host, and IdleKeep
	// for how long.
	MaxIdle  int
	IdleKeep time.Duration
	// Log is told once which congestion control the connections have. Nil: none.
	Log *zap.Logger
}

// Client opens connections to mirrors and keeps unused ones for the next
// download. It may be shared by many fetchers and probes, and is to be closed.
type Client struct {
	cfg ClientConfig
	tls *tls.Config

	congestion sync.Once // it was logged

	// What Warm opens ends with these.
	ctx  context.Context
	end  context.CancelFunc
	warm sync.WaitGroup

	mu      sync.Mutex
	idle    map[string][]*conn // by key
	warming map[string]int     // connections that Warm is opening, by key
	waiters map[string][]chan *conn
	shut    bool
}

// NewClient returns a client; nothing is opened yet.
func NewClient(cfg ClientConfig) *Client {
	orDefault(&cfg.UserAgent, "distd")
	orDefault(&cfg.Congestion, "bbr")
	orDefault(&cfg.Network, "tcp")
	orDefault(&cfg.DialTimeout, 10*time.Second)
	orDefault(&cfg.MaxIdle, 64)
	orDefault(&cfg.IdleKeep, time.Minute)
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	t := cfg.TLS.Clone()
	if t == nil {
		t = &tls.Config{}
	}
	t.InsecureSkipVerify = false
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.NextProtos = []string{"http/1.1"}
	if t.ClientSessionCache == nil {
		t.ClientSessionCache = tls.NewLRUClientSessionCache(256)
	}
	c := &Client{cfg: cfg, tls: t, idle: map[string][]*conn{}, warming: map[string]int{}, waiters: map[string][]chan *conn{}}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c
}

// Close closes the idle connections and those that are being opened ahead, and
// keeps none from now on.
func (c *Client) Close() error {
	c.mu.Lock()
	c.shut = true
	for _, list := range c.idle {
		for _, k := range list {
			k.expire.Stop()
			_ = k.Close()
		}
	}
	clear(c.idle)
	c.mu.Unlock()
	c.end()
	c.warm.Wait()
	return nil
}

// hostKey names what a connection for u can be used for.
func hostKey(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// put keeps a connection on which no answer is outstanding.
func (c *Client) put(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(k)
}

// keep is put with the lock held.
func (c *Client) keep(k *conn) {
	if c.shut || len(c.idle[k.key]) >= c.cfg.MaxIdle {
		_ = k.Close()
		return
	}
	k.kept = true
	c.idle[k.key] = append(c.idle[k.key], k)
	k.expire = time.AfterFunc(c.cfg.IdleKeep, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle[k.key] = slices.DeleteFunc(c.idle[k.key], func(o *conn) bool { return o == k })
		if len(c.idle[k.key]) == 0 {
			delete(c.idle, k.key)
		}
		_ = k.Close()
	})
}

// dial opens a connection for u. It calls connected, when that is not nil, with
// the round-trip time once TCP is connected.
func (c *Client) dial(ctx context.Context, u *url.URL, connected func(rtt time.Duration)) (*conn, error) {
	proxy, err := c.proxyFor(u)
	if err != nil {
		return nil, err
	}
	first := u
	if proxy != nil {
		first = proxy
	}
	raw, rtt, err := c.dialTCP(ctx, hostPort(first))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	k := newConn(raw, hostKey(u), rtt)
	if c.cfg.Tune != nil {
		c.cfg.Tune(raw)
	}
	if connected != nil {
		connected(k.rtt)
	}
	k.agent, k.auth = c.cfg.UserAgent, c.cfg.Auth
	if err := c.secure(ctx, k, u, proxy); err != nil {
		_ = k.Close()
		return nil, err
	}
	return k, nil
}

// secure goes through the proxy and the TLS handshakes that u wants.
func (c *Client) secure(ctx context.Context, k *conn, u, proxy *url.URL) error {
	if proxy != nil && proxy.Scheme == "https" {
		if err := c.handshake(ctx, k, proxy.Hostname()); err != nil {
			return fmt.Errorf("proxy %s: %w", proxy.Host, err)
		}
	}
	if proxy != nil && u.Scheme == "http" {
		k.viaProxy, k.proxyAuth = true, basicAuth(proxy.User)
	}
	if u.Scheme == "http" {
		return nil
	}
	if proxy != nil {
		if err := k.connect(hostPort(u), basicAuth(proxy.User), c.cfg.DialTimeout); err != nil {
			return fmt.Errorf("proxy %s: %w", proxy.Host, err)
		}
	}
	return c.handshake(ctx, k, u.Hostname())
}

func (c *Client) handshake(ctx context.Context, k *conn, name string) error {
	cfg := c.tls.Clone()
	cfg.ServerName = name
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	t := tls.Client(withBuffer(k.Conn), cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		err = fmt.Errorf("TLS: %w", err)
		var v *tls.CertificateVerificationError
		if errors.As(err, &v) {
			return &fault{class: liar, err: fmt.Errorf("%w (is the right CA given?)", err)}
		}
		return err
	}
	k.wrap(t)
	return nil
}

func (c *Client) proxyFor(u *url.URL) (*url.URL, error) {
	if c.cfg.Proxy == nil {
		return nil, nil
	}
	p, err := c.cfg.Proxy(&http.Request{Method: http.MethodGet, URL: u, Host: u.Host})
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", displayName(u), err)
	}
	if p != nil && p.Scheme != "http" && p.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: only http and https proxies are understood", displayName(p))
	}
	return p, nil
}
