package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"syscall"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/zone"
)

// newFence is the border of the node's zone.
func newFence(cfg *config.Config, log *zap.Logger) (*zone.Fence, error) {
	nets, err := cfg.ZoneNets()
	if err != nil {
		return nil, err // was checked
	}
	return zone.New(cfg.Zone, nets, log), nil
}

// keptOutSeed counts trackers of other zones, which a node does not make itself
// known to.
const keptOutSeed = "seed"

// fencedDialer makes connections from where peers are listened for, as
// dialerFrom does, and none over the fence.
func fencedDialer(f *zone.Fence, peers net.Listener) *net.Dialer {
	d := dialerFrom(peers)
	d.Control = func(_, addr string, _ syscall.RawConn) error { // once the name is looked up
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return err
		}
		if f.Allows(ap.Addr()) {
			return nil
		}
		f.KeptOut(keptOutSeed, ap)
		return fmt.Errorf("%v is outside of this node's zone: zone_net has %v", ap.Addr(), f.Nets())
	}
	return d
}

// warnOfFence says at the start what the fence makes of the node's own address
// and of the seeds that it follows. Looking up names may take a while.
func (n *Node) warnOfFence(ctx context.Context) {
	if len(n.fence.Nets()) == 0 {
		return
	}
	if n.peers != nil {
		if own := ownAddrs(n.peerAddr()); !slices.ContainsFunc(own, n.fence.Allows) {
			n.log.Warn("no address of this node lies in its zone: no peer of the zone will connect to it; mend zone_net or peer_listen",
				zap.Stringers("addresses", own), zap.Stringers("zone_net", n.fence.Nets()))
		}
	}
	for _, base := range n.cfg.Load().Seed {
		u, err := url.Parse(base)
		if err != nil {
			continue // was checked
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		if err != nil || slices.ContainsFunc(addrs, n.fence.Allows) {
			continue // who follows it says what is wrong with the name
		}
		n.log.Warn("a seed lies outside of the zone: it is followed, but it is told of no peer here, and none of its own is connected to; take it out of seed or mend zone_net",
			zap.String("seed", shownInput(base)), zap.Stringers("addresses", addrs), zap.Stringers("zone_net", n.fence.Nets()))
	}
}

// ownAddrs are the addresses that peers can reach this machine at, when it
// listens at one or, where that is the unspecified address, at all.
func ownAddrs(listen netip.Addr) []netip.Addr {
	if !listen.IsUnspecified() {
		return []netip.Addr{listen}
	}
	var out []netip.Addr
	for a := range localAddrs() {
		if !a.IsLoopback() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
