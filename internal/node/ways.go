package node

import (
	"context"
	"net/netip"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/zone"
	"distd/pkg/dht"
	"distd/pkg/lsd"
	"distd/pkg/swarm"
)

// ways are how a daemon and a fetch find peers that no tracker names. Each may be
// missing.
type ways struct {
	dht *dht.Node // nil: none
	lsd *lsd.Node // nil: none
}

// nearBy is the fence for what reaches beyond the datacenter by itself: it stays on
// private networks where nobody has said which ones the zone has.
func nearBy(f *zone.Fence, log *zap.Logger) *zone.Fence {
	if len(f.Nets()) == 0 {
		return zone.Private(f.Name(), log)
	}
	return f
}

// run has the group run them until ctx ends.
func (w *ways) run(ctx context.Context, g *errgroup.Group) {
	if w.dht != nil {
		g.Go(func() error { return w.dht.Run(ctx) })
	}
	if w.lsd != nil {
		g.Go(func() error { return w.lsd.Run(ctx) })
	}
}

// keep calls add with peers of a torrent until stop is called. With a port the
// others are told that this node is one of them.
func (w *ways) keep(infoHash [20]byte, port uint16, add func(source string, addrs []netip.AddrPort)) (stop func()) {
	var stops []func()
	if w.dht != nil {
		stops = append(stops, w.dht.Keep(infoHash, port, func(addrs []netip.AddrPort) { add(swarm.SourceDHT, addrs) }))
	}
	if w.lsd != nil && port != 0 {
		stops = append(stops, w.lsd.Keep(infoHash, func(ap netip.AddrPort) { add(swarm.SourceLSD, []netip.AddrPort{ap}) }))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
