package node

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/names"
	"distd/internal/zone"
	"distd/pkg/swarm"
	"distd/pkg/swarm/wire"
)

// Fetch downloads the inputs, runs the hooks of each, and seeds what has a
// torrent until the seeding limits. It returns when all is done or ctx ends;
// the states say what became of each download. One that fails does not keep the
// others from being fetched; its error is among those returned.
func Fetch(ctx context.Context, o FetchOptions) ([]FetchState, error) {
	if err := o.Hooks.check(); err != nil {
		return nil, err
	}
	web, err := newWeb(o)
	if err != nil {
		return nil, err
	}
	all := web.resolveAll(ctx)
	targets, err := distinctTargets(all)
	if err != nil {
		return nil, err
	}
	var h hints
	for _, t := range targets {
		h.add(t)
	}
	f, err := newFetch(o, web, h)
	if err != nil {
		return nil, err
	}
	defer f.limits.stop()
	for _, s := range all {
		if s.err != nil {
			f.downloads = append(f.downloads, f.failed(s))
		}
	}
	for _, t := range targets {
		f.downloads = append(f.downloads, f.download(t))
		if t.magnet == nil {
			_ = f.takeName(t) // they are distinct
		}
	}
	return f.run(ctx)
}

// distinctTargets are the downloads that were found out, each once.
func distinctTargets(all []*source) ([]*target, error) {
	var targets []*target
	for _, s := range all {
		targets = append(targets, s.targets...)
	}
	return distinct(targets)
}

// fetch is one call of Fetch.
type fetch struct {
	ways
	o          FetchOptions
	web        *web
	limits     *limits
	log        *zap.Logger
	engine     *swarm.Engine
	fence      *zone.Fence
	encryption wire.Policy
	dial       func(context.Context, netip.AddrPort) (net.Conn, error)
	announcing *http.Client
	local      netip.Addr // where peers are listened for
	port       uint16
	dhtPort    uint16 // 0: no DHT
	peerID     [20]byte
	downloads  []*download

	mu    sync.Mutex
	names names.Set // of the downloads
}

// newFetch opens the listener for peers, and makes an engine that run runs.
func newFetch(o FetchOptions, web *web, h hints) (*fetch, error) {
	policy, err := wire.ParsePolicy(o.Encryption)
	if err != nil {
		return nil, err
	}
	f := &fetch{limits: limitsOf(o), o: o, web: web, log: o.Log, peerID: newPeerID(), encryption: policy, fence: zone.New("", o.ZoneNet, o.Log.Named("zone"))}
	nodes, on := f.openDHT(h)
	if o.follows && h.byKey && !on {
		return nil, errNoDHT
	}
	ln, conn, err := listenForFetch(o, on)
	if err != nil {
		return nil, err
	}
	f.dial = dialPeers(ln)
	at := localPort(ln).AddrPort()
	f.local, f.port = at.Addr().Unmap(), at.Port()
	f.announcing = trackerClient(o.network(), web.outward, dialerFrom(ln), false)
	if err = f.find(conn, nodes); err == nil {
		f.engine, err = swarm.New(swarm.Config{Listener: ln, PeerID: f.peerID, Dial: f.dial, Encryption: policy, AllowPeer: f.allowPeer, KeptOut: f.keptOut,
			DHTPort: f.dhtPort, OnDHTNode: f.dhtNode,
			Up: &f.limits.node.up, Down: &f.limits.node.down, Version: "distd " + o.Version, Log: o.Log.Named("swarm")})
	}
	if err != nil && ln != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return f, err
}

// family says whether addresses of this kind are used.
func (f *fetch) family(a netip.Addr) bool { return !f.o.IPv4 || a.Unmap().Is4() }

// allowPeer says whether peers may be at an address.
func (f *fetch) allowPeer(a netip.Addr) bool {
	return f.family(a) && f.fence.Allows(a)
}

// keptOut counts those that are kept out for where they are, and not for IPv6.
func (f *fetch) keptOut(source string, ap netip.AddrPort) {
	if !f.fence.Allows(ap.Addr()) {
		f.fence.KeptOut(source, ap)
	}
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

// download is the download of a target, not begun.
func (f *fetch) download(t *target) *download {
	d := &download{fetch: f, target: t, log: f.log.With(zap.String("name", t.name))}
	d.note("starting")
	return d
}

// failed is the download of an input of which it could not be found out what it
// is.
func (f *fetch) failed(s *source) *download {
	d := f.download(&target{name: shownInput(s.inputs[0]), key: s.inputs[0]})
	d.note("failed")
	d.err = s.err
	return d
}

// run runs the engine and one goroutine for each download.
func (f *fetch) run(ctx context.Context) ([]FetchState, error) {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	var engine errgroup.Group
	engine.Go(func() error { return ignoreCancel(f.engine.Run(engineCtx)) })
	f.runFinders(engineCtx, &engine)

	var wg sync.WaitGroup
	slots := make(chan struct{}, cmp.Or(f.o.Parallel, defaultParallel))
	for _, d := range f.downloads {
		wg.Go(func() { d.run(ctx, slots) })
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	f.report(f.downloads, finished)
	stopEngine()
	err := engine.Wait()
	states := make([]FetchState, len(f.downloads))
	for i, d := range f.downloads {
		states[i] = d.state()
		err = errors.Join(err, d.err)
	}
	return states, err
}

// defaultParallel is how many downloads run at once, as many as aria2's.
const defaultParallel = 5

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
