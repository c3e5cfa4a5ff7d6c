// Package serve is the HTTP face of a node: the tree of releases that every
// distd node, stock client and plain browser can read, the server-sent events
// that tell of new releases, and the pages for operators.
//
// The tree is read-only and made of stored files. What is under /releases/ID/
// never changes and may be cached for ever; latest.json and the plain names
// (/NAME, /NAME.torrent, /NAME.magnet, /NAME.metalink, /NAME.meta4) are to be
// revalidated each time. Content carries a strong ETag made from its SHA-256, the
// digest fields of RFC 3230 and RFC 9530 and the links of RFC 6249. Torrents and
// metalinks are the stored ones with this node's own addresses put in, and magnet
// links are made of the torrents.
//
// A Server starts nothing by itself. Each call of Serve owns the goroutines of
// its listener and connections and ends them before it returns.
package serve

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"distd/internal/manifest"
)

// Catalog is where the server finds what it serves. All methods are called
// from many goroutines at once. What is not there is reported by an error that
// wraps fs.ErrNotExist; other errors are answered with status 500 and logged.
type Catalog interface {
	// Channels lists the channels that have a pointer.
	Channels() []string
	// Pointer returns a channel's latest.json and its minisign signature.
	Pointer(channel string) (data, sig []byte, err error)
	// Release returns the release with that ID, finished or in staging.
	Release(id string) (*Release, error)
	// Named returns the newest release that has the name.
	Named(name string) (*Release, error)
	// PublicKey returns the publisher's minisign public key file, nil if it
	// is not known yet.
	PublicKey() []byte
}

// Release is a release that the catalog holds. It must not be changed.
type Release struct {
	ID       string
	Manifest *manifest.Manifest
	// Dir is the folder with the meta files and content/.
	Dir string
	// Complete says that all content is there and verified.
	Complete bool
	// NoPack says, while the release is fetched, that its delta pack from a base is
	// neither here nor on its way. nil: that is not known.
	NoPack func(base string) bool
}

// Config is what a Server is made from. Only Catalog must be set; a zero
// limit or duration stands for its default.
type Config struct {
	Catalog Catalog
	// Tracker answers /announce and /scrape; nil: there is none.
	Tracker http.Handler
	// AnnounceURLs returns the tracker tiers put into served torrents, for a
	// server that is reached under the address base ("https://host:port", no
	// slash at the end). Nil, or none returned: the stored ones stay.
	AnnounceURLs func(base string) [][]string
	// PeerPort is the port at which this node's peers reach it, for magnet links;
	// 0: it has none.
	PeerPort uint16
	// LocalOnly leaves the publisher's mirrors out of the torrents and
	// metalinks that are served, so that stock clients of a zone fetch from
	// the zone only.
	LocalOnly bool
	// PublicURL is the address under which others reach this server. Empty:
	// each request's own scheme and Host.
	PublicURL string

	// Status returns what /v1/status shows, to be encoded as JSON.
	Status func() any
	// Healthy and Ready decide /healthz and /readyz; nil means yes.
	Healthy, Ready func() error
	// Metrics is what /metrics shows; nil: there is no such page.
	Metrics prometheus.Gatherer

	// Up gives the limit of the rate at which a channel's content is sent; nil, or
	// nil returned: there is none.
	Up func(channel string) Limiter
	// Tune sets options of each accepted TCP connection; nil: none.
	Tune func(net.Conn)
	// Congestion is the TCP congestion control asked for on each accepted
	// connection; empty, or not offered by the kernel: the system's own.
	Congestion string
	// MaxConns is the number of connections in all, MaxConnsPerAddr that of
	// one address (loopback addresses have no such limit). More are closed
	// as they come.
	MaxConns, MaxConnsPerAddr int
	// MaxListeners is the number of readers of /v1/events.
	MaxListeners int
	// MaxHeaderBytes bounds a request's header.
	MaxHeaderBytes int
	// CacheBytes bounds the memory for torrents and metalinks that were made
	// for one address of this server.
	CacheBytes int64

	// ReadHeaderTimeout is the time a client has to send a request (and for
	// the TLS handshake); IdleTimeout how long a connection may lie idle.
	ReadHeaderTimeout, IdleTimeout time.Duration
	// WriteStall ends a response of which the client took less than 256 KiB
	// (or the rest) in that time. A response may last as long as it flows.
	WriteStall time.Duration
	// PingInterval is the pause between the comments that keep an event
	// stream alive.
	PingInterval time.Duration
	// ShutdownGrace is how long responses may go on when Serve is to end.
	ShutdownGrace time.Duration
	// RetryAfter is told to clients that come too early.
	RetryAfter time.Duration

	Log *zap.Logger
}

func (c Config) withDefaults() Config {
	orInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	orTime := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orInt(&c.MaxConns, 4096)
	orInt(&c.MaxConnsPerAddr, 256)
	orInt(&c.MaxListeners, 4096)
	orInt(&c.MaxHeaderBytes, 16<<10)
	orTime(&c.ReadHeaderTimeout, 10*time.Second)
	orTime(&c.IdleTimeout, 2*time.Minute)
	orTime(&c.WriteStall, time.Minute)
	orTime(&c.PingInterval, 15*time.Second)
	orTime(&c.ShutdownGrace, 5*time.Second)
	orTime(&c.RetryAfter, 5*time.Second)
	if c.CacheBytes <= 0 {
		c.CacheBytes = 128 << 20
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// Server answers the requests. It is safe for concurrent use.
type Server struct {
	cfg     Config
	base    string // PublicURL without the slash at its end, or ""
	log     *zap.Logger
	metrics *metrics
	promH   http.Handler
	hub     *hub
	conns   *limiter

	// made holds torrents, magnet links and metalinks made for one base, sums the digests
	// of stored meta files.
	made   *lru[madeKey, *document]
	sums   *lru[sumKey, [32]byte]
	making singleflight.Group
	makers chan struct{} // bounds how many documents are made at once

	congestionOnce sync.Once
}

const (
	maxSums   = 4096 // digests of stored files that are remembered
	maxMakers = 2    // documents made at the same time
)

// New checks the configuration and returns a server that has not started
// anything.
func New(cfg Config) (*Server, error) {
	if cfg.Catalog == nil {
		return nil, errors.New("serve: no catalog")
	}
	cfg = cfg.withDefaults()
	base, err := checkPublicURL(cfg.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s := &Server{
		cfg:     cfg,
		base:    base,
		log:     cfg.Log,
		metrics: newMetrics(),
		hub:     newHub(cfg.MaxListeners, cfg.MaxConnsPerAddr),
		conns:   newLimiter(cfg.MaxConns, cfg.MaxConnsPerAddr),
		made:    newLRU[madeKey, *document](cfg.CacheBytes),
		sums:    newLRU[sumKey, [32]byte](maxSums),
		makers:  make(chan struct{}, maxMakers),
	}
	if cfg.Metrics != nil {
		s.promH = promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorLog: zap.NewStdLog(cfg.Log)})
	}
	return s, nil
}

// Collector returns the server's metrics, to be registered once.
func (s *Server) Collector() prometheus.Collector { return s.metrics }

// Handler returns the tree without the listener's limits: for tests and for
// callers that have a server of their own.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

func checkPublicURL(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("public URL %q is not of the form http(s)://HOST[:PORT][/PATH]", raw)
	}
	if _, ok := validHost(u.Host); !ok {
		return "", fmt.Errorf("public URL %q: %q is not a host name or address", raw, u.Host)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// remoteAddr is the client's address; not valid when it has none, as on a
// Unix socket.
func remoteAddr(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
