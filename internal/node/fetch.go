package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/hook"
	"distd/pkg/swarm"
	"distd/pkg/swarm/wire"
)

// FetchOptions say what to download once, and how.
type FetchOptions struct {
	Inputs []string // files or URLs of torrents and metalinks, and plain URLs
	Dir    string   // where the downloads go
	Listen string   // address for peers; AnyPort for the first free usual one, empty for none
	CA     string   // further CA certificates

	ClientCert, ClientKey string // files of the certificate for servers that want one
	AuthFile              string // user names and passwords, see package outward
	Proxy                 string // URL or none; empty for the environment's

	// SeedRatio ends seeding when so many times the size was sent; 0 is never.
	SeedRatio float64
	// SeedTime ends seeding after that time; negative is never, 0 at once.
	SeedTime time.Duration

	Hook       string    // program to run when a download is complete
	HookOutput io.Writer // gets what it prints; nil for none

	Locations config.Locations // of mirrors in metalinks that may be used
	// Up, Down and WANDown are limits of all downloads together; WANDown is of
	// mirrors alone.
	Up, Down, WANDown config.Timetable

	Encryption string
	MaxConns   int // connections to one mirror, at most
	Congestion string
	Version    string
	Log        *zap.Logger
	// Report is called from one goroutine, several times a second.
	Report func([]FetchState)
}

// FetchState is one download as it is now.
type FetchState struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`
	Size        int64    `json:"size"`
	Done        int64    `json:"done"`
	FromPeers   int64    `json:"bytes_from_peers"`
	FromMirrors int64    `json:"bytes_from_mirrors"`
	Uploaded    int64    `json:"bytes_uploaded"`
	Peers       int      `json:"peers"`
	Path        string   `json:"path,omitempty"`
	Seconds     float64  `json:"seconds,omitempty"`
	Error       string   `json:"error,omitempty"`
	Mirrors     []Mirror `json:"mirrors,omitempty"`
}

// Fetch downloads the inputs, runs the hook for each, and seeds what has a
// torrent until the seeding limits. It returns when all is done or ctx ends;
// the states say what became of each download.
func Fetch(ctx context.Context, o FetchOptions) ([]FetchState, error) {
	if o.Hook != "" {
		if err := hook.Check(o.Hook); err != nil {
			return nil, &codedError{ExNoInput, err}
		}
	}
	web, err := newWeb(o)
	if err != nil {
		return nil, err
	}
	var targets []*target
	for _, in := range o.Inputs {
		ts, err := web.resolve(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shownInput(in), err)
		}
		targets = append(targets, ts...)
	}
	if targets, err = distinct(targets); err != nil {
		return nil, err
	}
	limits := limitsOf(o)
	defer limits.stop()
	f := &fetch{limits: limits, o: o, web: web, log: o.Log, peerID: newPeerID()}
	ln, err := listenForPeers(o.Listen)
	if err != nil {
		return nil, err
	}
	if ln != nil {
		at := ln.Addr().(*net.TCPAddr).AddrPort()
		f.local, f.port = at.Addr().Unmap(), at.Port()
	}
	f.announcing = trackerClient(web.outward, ln, false)
	policy, err := wire.ParsePolicy(o.Encryption)
	if err != nil {
		return nil, err
	}
	f.engine, err = swarm.New(swarm.Config{Listener: ln, PeerID: f.peerID, Dial: dialPeers(ln), Encryption: policy, Up: &limits.node.up, Down: &limits.node.down, Version: "distd " + o.Version, Log: o.Log.Named("swarm")})
	if err != nil {
		return nil, err
	}
	return f.run(ctx, targets)
}

// limitsOf are the limits of all downloads of one fetch.
func limitsOf(o FetchOptions) *limits {
	l := &limits{}
	l.init(o.Log)
	l.node.up.follow(o.Up)
	l.node.down.follow(o.Down)
	l.wan.follow(o.WANDown)
	return l
}

// AnyPort is the address of the first port from 6881 to 6999 that is free, as
// BitTorrent clients have it: several fetches may run beside a daemon.
const AnyPort = "auto"

func listenForPeers(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	first, last := 0, 0
	if addr == AnyPort {
		addr, first, last = "", 6881, 6999
	}
	for port := first; ; port++ {
		at := addr
		if port != 0 {
			at = fmt.Sprintf(":%d", port)
		}
		ln, err := net.Listen("tcp", at)
		if err == nil {
			return ln, nil
		}
		if port == last || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, listenError("peers", "-listen", err)
		}
	}
}

// fetch is one call of Fetch.
type fetch struct {
	o          FetchOptions
	web        *web
	limits     *limits
	log        *zap.Logger
	engine     *swarm.Engine
	announcing *http.Client
	local      netip.Addr // where peers are listened for
	port       uint16
	peerID     [20]byte
}

// run runs the engine and one goroutine for each download.
func (f *fetch) run(ctx context.Context, targets []*target) ([]FetchState, error) {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	var engine errgroup.Group
	engine.Go(func() error { return ignoreCancel(f.engine.Run(engineCtx)) })

	downloads := make([]*download, len(targets))
	for i, t := range targets {
		downloads[i] = &download{fetch: f, target: t, log: f.log.With(zap.String("name", t.name))}
		downloads[i].note("starting")
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 5) // as many at once as aria2's -j
	for _, d := range downloads {
		wg.Go(func() { d.run(ctx, slots) })
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	f.report(downloads, finished)
	stopEngine()
	err := engine.Wait()
	states := make([]FetchState, len(downloads))
	for i, d := range downloads {
		states[i] = d.state()
		err = errors.Join(err, d.err)
	}
	return states, err
}

// report calls the caller's Report until all downloads have ended, and once
// more then.
func (f *fetch) report(downloads []*download, finished <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-finished:
			done = true
		case <-tick.C:
		}
		if f.o.Report == nil {
			continue
		}
		states := make([]FetchState, len(downloads))
		for i, d := range downloads {
			states[i] = d.state()
		}
		f.o.Report(states)
	}
}
