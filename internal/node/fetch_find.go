package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/zone"
	"distd/pkg/dht"
	"distd/pkg/lsd"
	"distd/pkg/swarm"
)

// FetchDHT says which DHT a fetch takes part in. There is none without nodes to
// begin with: those named here, remembered in File, and the peers that a magnet
// link names, which may have their DHT at the same port.
type FetchDHT struct {
	Off    bool
	Wanted bool     // who gave the command counts on it
	Nodes  []string // HOST:PORT
	Public bool     // the world's, with its routers
	Ports  string   // UDP port, or a range of which the first free one is taken; empty for the peers' port
	File   string   // keeps nodes from one run to the next; empty for none
}

// hints are what a fetch's links say about where a DHT may be.
type hints struct {
	peers []string // HOST:PORT
	byKey bool     // a link has nothing but a key, which only a DHT knows
}

func (h *hints) add(t *target) {
	h.peers = append(h.peers, t.named...)
	h.byKey = h.byKey || t.magnet != nil && t.magnet.byKey()
}

// openDHT says with which nodes the DHT begins, and whether there is one at all. A
// file that is not the DHT's is left alone.
func (f *fetch) openDHT(h hints) (nodes []string, on bool) {
	d := &f.o.DHT
	if d.Off {
		return nil, false
	}
	remembered := 0
	if d.File != "" {
		old, err := dht.ReadNodes(d.File)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("the file is of another program, or damaged: it is left as it is, and nodes of the DHT are not kept; name another file", zap.Error(err))
			d.File = ""
		}
		remembered = len(old)
	}
	nodes = slices.Concat(d.Nodes, h.peers)
	on = len(nodes)+remembered > 0 || d.Public || f.o.LSD && h.byKey
	if d.Wanted && !on {
		f.log.Warn("there is no DHT: no node of one is known; name one with -dht=HOST:PORT")
	}
	return nodes, on
}

// find makes what finds peers without a tracker. conn is the DHT's socket; nil for
// no DHT.
func (f *fetch) find(conn net.PacketConn, nodes []string) (err error) {
	near := nearBy(f.fence, f.log.Named("zone"))
	if conn != nil {
		if f.o.DHT.Public {
			near = f.fence
		}
		f.dhtPort = unmapAddr(conn.LocalAddr()).Port()
		f.dht, err = dht.New(dht.Config{
			Conn: conn, Allow: f.within(near), Bootstrap: nodes, NodesFile: f.o.DHT.File, Public: f.o.DHT.Public,
			ReadOnly: !f.o.stays(), Log: f.log.Named("dht"),
		})
		if err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	if !f.o.LSD {
		return nil
	}
	if f.port == 0 {
		return &codedError{ExUsage, errors.New("-lsd tells others the port for peers, and there is none: leave -listen as it is")}
	}
	f.lsd, err = lsd.New(lsd.Config{Port: f.port, Allow: f.within(nearBy(f.fence, f.log.Named("zone"))), Log: f.log.Named("lsd")})
	return err
}

// within says of addresses whether they are inside of a fence and may be used.
func (f *fetch) within(fence *zone.Fence) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return f.family(a) && fence.Allows(a) }
}

// stays says whether the command is there for long, and so of use to others.
func (o *FetchOptions) stays() bool { return o.follows || o.SeedRatio == 0 && o.SeedTime < 0 }

// runFinders has the group run what finds peers. One that fails ends only itself:
// the others go on.
func (f *fetch) runFinders(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error {
		var ways errgroup.Group
		f.ways.run(ctx, &ways)
		if err := ways.Wait(); err != nil && ctx.Err() == nil {
			f.log.Warn("a way to find peers is dead; the others carry on", zap.Error(err))
		}
		return nil
	})
	if f.dht != nil && len(f.o.DHT.Nodes) > 0 {
		g.Go(func() error { f.warnOfNodes(ctx); return nil })
	}
}

// warnOfNodes says that nodes were named in vain.
func (f *fetch) warnOfNodes(ctx context.Context) {
	addrs, err := resolvePeers(ctx, f.o.DHT.Nodes)
	if err != nil && ctx.Err() == nil {
		f.log.Warn("a node of the DHT has no address", zap.Error(err))
	}
	near := nearBy(f.fence, nil)
	for _, ap := range addrs {
		if !f.o.DHT.Public && f.family(ap.Addr()) && !near.Allows(ap.Addr()) {
			f.log.Warn("a node of the DHT is not asked: it is outside of the zone, which is private networks unless -zone-net says otherwise", zap.Stringer("node", ap))
		}
	}
}

// dhtNode takes in where the DHT of a peer is.
func (f *fetch) dhtNode(ap netip.AddrPort) {
	if f.dht != nil {
		f.dht.AddNode(ap)
	}
}

// findPeers has peers of a download added until ctx ends: those that its link names
// and, unless the torrent is private, those that are found without a tracker.
func (d *download) findPeers(ctx context.Context, g *errgroup.Group, infoHash [20]byte, private bool, add func(source string, addrs []netip.AddrPort)) {
	for _, p := range d.target.named {
		g.Go(func() error { add(swarm.SourceMagnet, d.lookUp(ctx, p)); return nil })
	}
	if private {
		return
	}
	g.Go(func() error {
		defer d.fetch.keep(infoHash, d.fetch.port, add)()
		<-ctx.Done()
		return nil
	})
}

// unmapAddr is the address and port of a socket.
func unmapAddr(a net.Addr) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(a.String()) // fails for what is none of the internet
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
