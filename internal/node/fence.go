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

// warnOfFence says at the start what is odd about the zone.
func (n *Node) warnOfFence(ctx context.Context) {
	for _, w := range ZoneWarnings(ctx, n.cfg.Load()) {
		n.log.Warn(w)
	}
}

// ZoneWarnings says what the zone's networks leave outside that a configuration
// has: this machine's own address, and seeds. Names are looked up, for which ctx
// bounds the time.
func ZoneWarnings(ctx context.Context, cfg *config.Config) (out []string) {
	f, err := newFence(cfg, nil)
	if err != nil || len(f.Nets()) == 0 {
		return nil
	}
	if cfg.PeerListen != "" {
		if own := ownAddrs(ctx, cfg.PeerListen); len(own) > 0 && !slices.ContainsFunc(own, f.Allows) {
			out = append(out, fmt.Sprintf("no address of this node (%v) lies in its zone (%v): no peer of the zone connects to it; mend zone_net or peer_listen", own, f.Nets()))
		}
	}
	for _, base := range cfg.Seed {
		u, err := url.Parse(base)
		if err != nil {
			continue // was checked
		}
		addrs := hostAddrs(ctx, u.Hostname())
		if len(addrs) > 0 && !slices.ContainsFunc(addrs, f.Allows) {
			out = append(out, fmt.Sprintf("seed %s (%v) lies outside of the zone (%v): it is followed over HTTP, but told of no peer here, and no peer there is connected to; take it out of seed, or mend zone_net",
				shownInput(base), addrs, f.Nets()))
		}
	}
	return out
}

// ownAddrs are the addresses that peers can reach this machine at when it listens
// at one: that, or all.
func ownAddrs(ctx context.Context, listen string) (out []netip.Addr) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil // was checked
	}
	if host != "" {
		if out = hostAddrs(ctx, host); !slices.ContainsFunc(out, netip.Addr.IsUnspecified) {
			return out
		}
	}
	out = nil
	for a := range localAddrs() {
		if !a.IsLoopback() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// hostAddrs finds the addresses of a host; none when there are none to be had, which
// who connects to it reports.
func hostAddrs(ctx context.Context, host string) []netip.Addr {
	addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}
