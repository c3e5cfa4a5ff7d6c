package node

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/peerbook"
	"distd/internal/store"
	"distd/pkg/dht"
	"distd/pkg/lsd"
	"distd/pkg/swarm"
)

// finder finds the zone's other nodes without a server: through the DHT, on the
// link, by the configuration, and in what was remembered. It also carries the
// channels' news where no upstream tells of them. Each of its sources may be
// missing or dead: the others do not wait for it.
type finder struct {
	ways
	node *Node
	log  *zap.Logger
	book *peerbook.Book

	heard atomic.Int64 // releases taken up from what nodes of the zone said
	packs atomic.Int64 // bytes of delta packs that came with peers' documents
	unfit atomic.Int64 // answers of peers about a release that did not belong to it

	mu         sync.Mutex
	configured []netip.AddrPort // as far as names have been resolved
	watchers   map[*watcher]struct{}
	published  map[string]*publication // by channel
	channels   map[string]bool         // followed through the DHT
	follow     func(channel string)    // begins with a channel; nil before run
}

// watcher wants to know peers of a torrent.
type watcher struct {
	add func(source string, addrs []netip.AddrPort)
}

const (
	// maxRemembered is how many peers from before a restart a torrent begins with.
	maxRemembered = 50
	// resolveEvery is how often the names of configured peers are looked up,
	// resolveSoon while one has no address.
	resolveEvery = 5 * time.Minute
	resolveSoon  = 5 * time.Second
	// noteEvery is how often it is written down which peers are of use.
	noteEvery = 15 * time.Second
)

// newFinder makes the finder of a node that has peers.
func (n *Node) newFinder(cfg *config.Config) (_ *finder, err error) {
	f := &finder{node: n, log: n.log.Named("find"), watchers: map[*watcher]struct{}{}, published: map[string]*publication{}, channels: map[string]bool{}}
	state := filepath.Join(n.store.Dir(), ".distd")
	if f.book, err = peerbook.Open(filepath.Join(state, "peers.json"), f.log); err != nil {
		return nil, err
	}
	near := nearBy(n.fence, f.log)
	if nodes, on, public := cfg.DHTNodes(); on && n.dhtConn != nil {
		allow := near.Allows
		if public {
			allow = n.fence.Allows
		}
		f.dht, err = dht.New(dht.Config{
			Conn: n.dhtConn, Allow: allow, Public: public,
			Bootstrap: append(nodes, cfg.Peer...),
			NodesFile: filepath.Join(state, "dht.nodes"),
			Log:       n.log.Named("dht"),
		})
		if err != nil {
			return nil, err
		}
	}
	if cfg.LSD {
		if f.lsd, err = lsd.New(lsd.Config{Port: n.peerPort, Allow: near.Allows, Log: n.log.Named("lsd")}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// run runs all that finds nodes, until ctx ends.
func (f *finder) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if f.dht != nil {
		for _, ap := range f.book.Peers("", maxRemembered) {
			f.dht.AddNode(ap) // a distd has its DHT at the port of its peers
		}
	}
	f.ways.run(ctx, g)
	g.Go(func() error { f.book.Run(ctx); return ctx.Err() })
	g.Go(func() error { return f.note(ctx) })
	if len(f.node.cfg.Load().Peer) > 0 {
		g.Go(func() error { return f.resolve(ctx) })
	}
	f.followChannels(ctx, g)
	return g.Wait()
}

// watch calls add with peers of a torrent, from every source, until stop is
// called. With a port the others are told that this node is one of them.
func (f *finder) watch(ih [20]byte, channel string, port uint16, add func(source string, addrs []netip.AddrPort)) (stop func()) {
	w := &watcher{add}
	f.mu.Lock()
	f.watchers[w] = struct{}{}
	configured := f.configured
	f.mu.Unlock()
	add(swarm.SourceConfigured, configured)
	add(swarm.SourceDisk, f.book.Peers(channel, maxRemembered))
	leave := f.keep(ih, port, add)
	return func() {
		leave()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
	}
}

// resolve looks up the names of the configured peers, again and again: an
// address may change, and a name server may come up later than this node.
func (f *finder) resolve(ctx context.Context) error {
	var said repeated
	for {
		addrs, err := resolvePeers(ctx, f.node.cfg.Load().Peer)
		if err != nil && ctx.Err() == nil {
			f.log.Log(said.level(err), "a configured peer has no address", zap.Error(err))
		}
		f.setConfigured(addrs)
		wait := resolveEvery
		if err != nil {
			wait = resolveSoon
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (f *finder) setConfigured(addrs []netip.AddrPort) {
	f.mu.Lock()
	same := slices.Equal(addrs, f.configured)
	f.configured = addrs
	var all []*watcher
	for w := range f.watchers {
		all = append(all, w)
	}
	f.mu.Unlock()
	if same {
		return
	}
	for _, w := range all {
		w.add(swarm.SourceConfigured, addrs)
	}
	if f.dht != nil {
		for _, ap := range addrs {
			f.dht.AddNode(ap)
		}
	}
}

// note writes down which peers are of use now, for after a restart, and says
// which sources have died.
func (f *finder) note(ctx context.Context) error {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	var log sourceLog
	var refusals refusalLog
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		f.noteNow()
		sources := f.node.sources(f.node.trackerStates())
		log.update(f.log, sources)
		refusals.update(f.log, sources, time.Now())
	}
}

func (f *finder) noteNow() {
	for _, j := range f.node.releases.list() {
		j.mu.Lock()
		tor := j.torrent
		j.mu.Unlock()
		if tor == nil {
			continue
		}
		if useful := tor.Useful(); len(useful) > 0 {
			f.book.Note(j.m.Channel, useful)
		}
	}
}

// publication is a channel's item that this node keeps alive in the zone.
type publication struct {
	serial uint64
	stop   func()
}

// publish keeps the item of a channel's newest release alive in the zone's DHT,
// in place of an older one.
func (f *finder) publish(channel string, it *manifest.Item) {
	if f.dht == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.published[channel]
	if old != nil && old.serial >= it.Serial {
		return
	}
	stop, err := f.dht.Publish(itemForDHT(it))
	if err != nil {
		f.log.Warn("the channel's item is not published in the DHT", zap.String("channel", channel), zap.Uint64("serial", it.Serial), zap.Error(err))
		return
	}
	if old != nil {
		old.stop()
	}
	f.published[channel] = &publication{it.Serial, stop}
}

// offer keeps the item of a release alive, if it is the newest of its channel and
// has one, and follows its channel.
func (f *finder) offer(rel *store.Release) {
	n, m := f.node, rel.Manifest
	f.knows(m.Channel)
	if f.dht == nil || n.releases.newest(m.Channel) != rel.ID {
		return
	}
	key, known, err := n.knownKey(m.Channel)
	if err != nil || !known {
		return
	}
	data, err := rel.ReadMeta(manifest.ItemFile)
	if errors.Is(err, fs.ErrNotExist) {
		return // of a publisher that makes none
	}
	var it *manifest.Item
	if err == nil {
		it, err = manifest.OpenItem(key, data)
	}
	if err != nil {
		f.log.Warn("the release's item for the DHT cannot be used", zap.String("channel", m.Channel), zap.String("release", rel.ID), zap.Error(err))
		return
	}
	f.publish(m.Channel, it)
}

func itemForDHT(it *manifest.Item) dht.Item {
	return dht.Item{Key: it.Key, Salt: []byte(it.Channel), Seq: int64(it.Serial), Value: it.Value(), Sig: it.Sig}
}
