// Package node puts the parts of distd together into a master, a seed or a
// leaf, and is the only place where they meet.
//
// A Node owns every goroutine of the daemon. Run starts them in one group: the
// HTTP server, the tracker, the swarm engine, the control socket, one watcher
// and one announcer for each upstream, one goroutine for each release that is
// fetched or activated, none for one that is only seeded, and the watchdog of
// systemd. The first that fails ends all of them.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/outward"
	"distd/internal/serve"
	"distd/internal/store"
	"distd/internal/upstream"
	"distd/internal/zone"
	"distd/pkg/httpfetch"
	"distd/pkg/swarm"
	"distd/pkg/swarm/wire"
	"distd/pkg/tracker"
)

// Node is one daemon: a master, a seed or a leaf.
type Node struct {
	cfg     atomic.Pointer[config.Config]
	role    string
	version string
	log     *zap.Logger
	started time.Time

	store      *store.Store
	signing    manifest.PrivateKey // a master's
	cert       *serve.CertSource
	server     *serve.Server
	tracker    *tracker.Server
	engine     *swarm.Engine
	finder     *finder           // nil without peers
	outward    *outward.Access   // CAs, certificate, passwords and proxies for upstreams and mirrors
	mirrors    *httpfetch.Client // keeps connections from one release to the next
	ups        atomic.Pointer[[]*follower]
	master     *follower // of the upstreams: where content comes from over the long link; nil: nowhere
	otherSeeds int       // of the datacenter, on a seed
	registry   *prometheus.Registry
	announcing *http.Client
	peerPort   uint16
	peerID     [20]byte
	encryption wire.Policy

	http    net.Listener
	udp     net.PacketConn
	peers   net.Listener
	dhtConn net.PacketConn // at the peers' port; nil: no DHT
	control net.Listener

	limits    limits
	paths     paths
	fence     *zone.Fence
	watches   watches
	releases  *keeper
	scrub     *scrubber
	rules     chan struct{} // what is kept has changed
	spares    chan struct{} // a spare tree may be missing
	short     atomic.Int64  // releases that wait for space
	seedless  seedless
	search    search
	news      locks // by channel, for taking up a release
	publishMu sync.Mutex
	ready     atomic.Bool
	counters  counters
	traffic   upstream.Traffic // of the documents
	coming    coming           // papers, from upstreams
	torrent   atomic.Pointer[lastTorrent]
	inlined   sync.Map // int64 by ID of a release: bytes of the pack that came with its documents
}

// New opens the node's folder and its listeners and starts nothing. The node
// must then be run, which also closes what New opened.
func New(cfg *config.Config, version string, log *zap.Logger) (_ *Node, err error) {
	n := &Node{role: cfg.Role, version: version, log: log, started: time.Now(), peerID: newPeerID(), registry: prometheus.NewRegistry(), rules: make(chan struct{}, 1), spares: make(chan struct{}, 1)}
	n.cfg.Store(cfg)
	if n.fence, err = newFence(cfg, log.Named("zone")); err != nil {
		return nil, err
	}
	if err := CheckFiles(cfg); err != nil {
		return nil, &codedError{ExConfig, err}
	}
	if n.store, err = openStore(cfg.Dir, log.Named("store")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err := n.setOwner(cfg); err != nil {
		return nil, err
	}
	if err := n.loadKeys(); err != nil {
		return nil, err
	}
	if err := n.listen(cfg); err != nil {
		return nil, err
	}
	if err := n.assemble(cfg); err != nil {
		return nil, err
	}
	return n, nil
}

// loadKeys makes or reads a master's key pair.
func (n *Node) loadKeys() error {
	if n.role != config.RoleMaster {
		return nil
	}
	key, created, err := LoadMasterKey(n.store)
	if err != nil {
		return err
	}
	n.signing = key
	if created {
		n.log.Info("made a key pair; give the public key to seeds and leaves as -key", zap.String("public_key", key.Public().String()))
	}
	return nil
}

// listen binds every address before anything starts, so that a port in use is
// an error of the start and not of some moment later.
func (n *Node) listen(cfg *config.Config) (err error) {
	if cfg.Listen != "" {
		if n.http, err = net.Listen("tcp", cfg.Listen); err != nil {
			return listenError("HTTP", "-listen", err)
		}
		if n.tracks(cfg) {
			if n.udp, err = net.ListenPacket("udp", n.http.Addr().String()); err != nil {
				return listenError("the UDP tracker", "-listen", err)
			}
		}
	}
	if cfg.PeerListen != "" {
		if n.peers, err = net.Listen("tcp", cfg.PeerListen); err != nil {
			return listenError("peers", "-peer-listen", err)
		}
		n.peerPort = uint16(n.peers.Addr().(*net.TCPAddr).Port)
		if _, on, _ := cfg.DHTNodes(); on {
			if n.dhtConn, err = net.ListenPacket("udp", n.peers.Addr().String()); err != nil {
				return listenError("the DHT", "-peer-listen, or do without it (-dht=off)", err)
			}
		}
	}
	if cfg.TLSCert != "" {
		if n.cert, err = loadCert(cfg); err != nil {
			return &codedError{ExConfig, err}
		}
	}
	n.control, err = listenControl(n.store.Dir())
	return err
}

// listenError says what to do about an address that cannot be had.
func listenError(what, flag string, err error) error {
	advice := "choose another address with " + flag
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another program has the port: end it, or " + advice
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine does not have the address: " + advice
	}
	return fmt.Errorf("listen for %s: %w (%s)", what, err, advice)
}

// tracks says whether the node is a tracker: where it serves HTTP and has
// peers itself, except on a leaf.
func (n *Node) tracks(cfg *config.Config) bool {
	return n.role != config.RoleLeaf && cfg.Listen != "" && cfg.PeerListen != ""
}

// assemble makes the parts and connects them.
func (n *Node) assemble(cfg *config.Config) (err error) {
	n.releases = newKeeper(n)
	n.scrub = newScrubber(n)
	n.limits.init(n.log)
	if err = n.limits.set(cfg); err != nil {
		return err
	}
	if n.tracks(cfg) {
		n.tracker, err = tracker.NewServer(tracker.Config{
			StateFile: filepath.Join(cfg.Dir, ".distd", "tracker.state"),
			AllowPeer: n.fence.Allows,
			KeptOut:   n.fence.KeptOut,
			Log:       n.log.Named("tracker"),
		})
		if err != nil {
			return err
		}
	}
	if cfg.PeerListen != "" {
		if n.engine, err = n.newEngine(cfg); err != nil {
			return err
		}
		if n.finder, err = n.newFinder(cfg); err != nil {
			return err
		}
	}
	if n.outward, err = newAccess(cfg); err != nil {
		return err
	}
	if err := n.addUpstreams(cfg); err != nil {
		return err
	}
	if err := n.addWatches(cfg); err != nil {
		return err
	}
	n.announcing = trackerClient("tcp", n.outward, fencedDialer(n.fence, n.peers), true)
	mc := mirrorClient(cfg.Congestion, n.version, n.outward)
	mc.Tune, mc.Log = n.tune, n.log.Named("mirrors")
	n.mirrors = httpfetch.NewClient(mc)
	if n.http != nil {
		if n.server, err = n.newServer(cfg); err != nil {
			return err
		}
	}
	if n.server != nil {
		n.registry.MustRegister(n.server.Collector())
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{n})
	return nil
}

func (n *Node) newEngine(cfg *config.Config) (*swarm.Engine, error) {
	policy, err := wire.ParsePolicy(cfg.Encryption)
	if err != nil {
		return nil, err
	}
	n.encryption = policy
	return swarm.New(swarm.Config{
		Listener:           n.peers,
		PeerID:             n.peerID,
		Dial:               dialPeers(n.peers),
		Encryption:         policy,
		Zone:               n.fence.Name(),
		AllowPeer:          n.fence.Allows,
		KeptOut:            n.fence.KeptOut,
		MaxConns:           cfg.MaxPeers,
		Memory:             int64(cfg.Memory),
		Up:                 &n.limits.node.up,
		Down:               &n.limits.node.down,
		Tune:               n.tune,
		MaxConnsPerTorrent: cfg.PerRelease,
		DHTPort:            n.dhtPort(),
		OnDHTNode:          func(ap netip.AddrPort) { n.finder.dht.AddNode(ap) },
		Version:            "distd " + n.version,
		Log:                n.log.Named("swarm"),
	})
}

// dhtPort is what peers are told of this node's DHT: 0 without one.
func (n *Node) dhtPort() uint16 {
	if n.dhtConn == nil {
		return 0
	}
	return n.peerPort
}

func (n *Node) newServer(cfg *config.Config) (*serve.Server, error) {
	sc := serve.Config{
		Catalog:   &catalog{n},
		PublicURL: cfg.PublicURL,
		PeerPort:  n.peerPort,
		Status:    func() any { return n.Status() },
		Healthy:   func() error { return nil },
		Ready:     n.Ready,
		Metrics:   n.registry,
		// Stock clients of a zone must not fetch over the long link what the
		// zone's seeds have.
		LocalOnly:  n.role != config.RoleMaster,
		Congestion: cfg.Congestion,
		MaxConns:   cfg.MaxClients,
		Up:         n.upOf,
		Tune:       n.tune,
		Log:        n.log.Named("http"),
	}
	if n.tracker != nil {
		sc.Tracker = n.tracker
		sc.AnnounceURLs = announceURLs
	}
	return serve.New(sc)
}

// Run runs the node until ctx ends or a part of it fails, and closes it.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	n.addItems()
	g, ctx := errgroup.WithContext(ctx)
	spawn := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			if ctx.Err() == nil {
				return fmt.Errorf("%s ended unexpectedly", name)
			}
			return nil
		})
	}
	if n.tracker != nil {
		for _, rel := range n.store.Releases() {
			n.expect(rel.Manifest) // leaves may come before the releases are in the swarm again
		}
		spawn("tracker", n.tracker.Run)
		spawn("udp tracker", func(ctx context.Context) error { return n.tracker.ServeUDP(ctx, n.udp) })
	}
	if n.engine != nil {
		spawn("swarm", n.engine.Run)
	}
	spawn("control socket", n.serveControl)
	spawn("releases", n.releases.run)
	spawn("scrub", n.scrub.run)
	spawn("retention", n.tidy)
	spawn("spare trees", n.keepSpares)
	if n.server != nil {
		spawn("http server", n.serveHTTP)
	}
	for _, f := range n.upstreams() {
		spawn("upstream "+f.client.Base(), f.run)
	}
	if n.finder != nil {
		spawn("finder", n.finder.run)
	}
	if n.role == config.RoleLeaf && len(n.cfg.Load().Seed) == 0 {
		spawn("search for seeds", n.newSeedSearch().run)
	}
	for _, w := range n.watches.list {
		spawn("watch", w.Run)
	}
	spawn("watchdog", n.watchdog)
	g.Go(func() error { n.warnOfFence(ctx); return nil })
	n.ready.Store(true)
	n.logStart()
	err := g.Wait()
	notify("STOPPING=1")
	return err
}

func (n *Node) logStart() {
	fields := []zap.Field{zap.String("role", n.role), zap.String("version", n.version), zap.String("dir", n.store.Dir())}
	if n.http != nil {
		fields = append(fields, zap.Stringer("listen", n.http.Addr()), zap.Bool("tls", n.cert != nil))
	}
	if n.peers != nil {
		fields = append(fields, zap.Stringer("peer_listen", n.peers.Addr()))
	}
	n.log.Info("distd is up", fields...)
	notify("READY=1")
}

func (n *Node) serveHTTP(ctx context.Context) error {
	ln := n.http
	if n.cert != nil {
		ln = serve.TLSListener(ln, n.cert)
	}
	return n.server.Serve(ctx, ln)
}

// close releases what New opened. Listeners that a part has closed already
// answer with an error that says nothing new.
func (n *Node) close() {
	n.limits.stop()
	for _, f := range n.upstreams() {
		f.client.Close()
	}
	for _, l := range []net.Listener{n.http, n.peers, n.control} {
		if l != nil {
			_ = l.Close()
		}
	}
	for _, c := range []net.PacketConn{n.udp, n.dhtConn} {
		if c != nil {
			_ = c.Close()
		}
	}
	if n.mirrors != nil {
		_ = n.mirrors.Close()
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Error("closing the store", zap.Error(err))
		}
	}
}

// Ready says whether the node does its work: its parts run, and the last
// word from its upstream was understood.
func (n *Node) Ready() error {
	if !n.ready.Load() {
		return errors.New("starting")
	}
	ups := n.upstreams()
	if slices.ContainsFunc(ups, (*follower).reached) {
		return nil
	}
	if n.role == config.RoleMaster || n.finder.reached() {
		return nil
	}
	if len(ups) == 0 {
		return errors.New("nobody of the zone has answered yet, and DNS has named no seed")
	}
	return errors.New("no upstream has answered yet")
}
