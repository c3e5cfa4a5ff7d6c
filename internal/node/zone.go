package node

import (
	"net"
	"net/netip"
	"net/url"
	"slices"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/upstream"
)

// addUpstreams makes a follower for each node that this one follows: the master,
// over the long link, and the seeds of the datacenter. A seed follows the other
// seeds as well: they are the trackers through which it finds them, and what it
// has not heard from the master, its own line being dead, it hears from them.
func (n *Node) addUpstreams(cfg *config.Config) error {
	if cfg.Master != "" {
		f, err := n.addUpstream(n.outward.Adopt(cfg.Master))
		if err != nil {
			return err
		}
		n.master = f
	}
	for _, base := range cfg.Seed {
		base = n.outward.Adopt(base)
		if n.role == config.RoleSeed {
			if n.isSelf(base) {
				continue
			}
			n.otherSeeds++
		}
		if _, err := n.addUpstream(base); err != nil {
			return err
		}
	}
	return nil
}

// addUpstream makes one follower.
func (n *Node) addUpstream(base string) (*follower, error) {
	c, err := upstream.New(base, upstream.Options{TLS: n.outward.TLS(), Proxy: n.outward.Proxy, Auth: n.outward.Userinfo, PollInterval: n.cfg.Load().Poll,
		UserAgent: "distd/" + n.version, Log: n.log.Named("upstream"), Traffic: &n.traffic, Short: n.passOn})
	if err != nil {
		return nil, err
	}
	f := newFollower(n, c)
	all := append(slices.Clone(n.upstreams()), f)
	n.ups.Store(&all)
	return f, nil
}

// passOn keeps a short form of a document for those that follow this node: they
// have the same base, for the most part.
func (n *Node) passOn(id, doc, base string, packed []byte) {
	if n.server != nil {
		n.server.KeepShort(id, doc, base, packed)
	}
}

// upstreams are the nodes that this one follows now. One at a time changes them:
// the start, and then the search for seeds.
func (n *Node) upstreams() []*follower {
	if all := n.ups.Load(); all != nil {
		return *all
	}
	return nil
}

// isSelf reports whether the URL is that of this node's own server, so that all
// seeds of a datacenter can have the same list. A name that does not resolve now
// is taken for another's.
func (n *Node) isSelf(base string) bool {
	u, err := url.Parse(base)
	if err != nil || n.http == nil {
		return false
	}
	own, err := netip.ParseAddrPort(n.http.Addr().String())
	if err != nil {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	_, ownPort, _ := net.SplitHostPort(n.http.Addr().String())
	if port != ownPort {
		return false
	}
	ips, err := net.LookupIP(u.Hostname())
	if err != nil {
		n.log.Warn("name of a seed does not resolve; it is taken for another node", zap.String("seed", base), zap.Error(err))
		return false
	}
	local := localAddrs()
	for _, ip := range ips {
		a, _ := netip.AddrFromSlice(ip)
		a = a.Unmap()
		if a == own.Addr().Unmap() || own.Addr().IsUnspecified() && local[a] {
			return true
		}
	}
	return false
}

// localAddrs are the addresses of this machine.
func localAddrs() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	addrs, _ := net.InterfaceAddrs() // with none, nothing is local
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().Unmap()] = true
		}
	}
	return out
}
