package dht

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
)

const maxFound = 4096 // peers of one lookup

// keeper is a torrent that Keep was called for.
type keeper struct {
	infoHash [20]byte
	port     uint16
	found    func([]netip.AddrPort)
	box      mailbox[netip.AddrPort]
	retry    backoff
}

// Keep announces this host as a peer of the torrent at a TCP port (0: only looks
// it up) until stop is called, and calls found with other peers: those of each
// lookup, and those that announce themselves to this node. It begins at once, goes
// on within a minute while there is no other peer, and every quarter of an hour
// then. found is called from one goroutine at a time, and is to return soon; once
// stop has returned, no further call begins.
func (n *Node) Keep(infoHash [20]byte, port uint16, found func([]netip.AddrPort)) (stop func()) {
	k := &keeper{infoHash: infoHash, port: port, found: found, retry: n.cfg.times.retry}
	k.box.max = maxFound
	n.mu.Lock()
	if n.keepers[infoHash] == nil {
		n.keepers[infoHash] = make(map[*keeper]struct{})
	}
	n.keepers[infoHash][k] = struct{}{}
	n.mu.Unlock()
	remove := n.torrents.add(func(ctx context.Context) time.Duration { return n.keep(ctx, k) })
	return sync.OnceFunc(func() {
		remove()
		k.box.close()
		n.mu.Lock()
		defer n.mu.Unlock()
		if delete(n.keepers[infoHash], k); len(n.keepers[infoHash]) == 0 {
			delete(n.keepers, infoHash)
		}
	})
}

// keep announces once, and says when to do it again.
func (n *Node) keep(ctx context.Context, k *keeper) time.Duration {
	others := 0
	nodes, err := n.findPeers(ctx, k.infoHash, k.port, func(peers []netip.AddrPort) {
		others += len(peers)
		k.box.put(n.spawn, k.found, peers...)
	})
	if err == nil && k.port != 0 {
		n.announce(ctx, k.infoHash, k.port, nodes)
	}
	if others == 0 {
		return jitter(k.retry.wait())
	}
	k.retry.reset()
	return jitter(n.cfg.times.announce)
}

func (n *Node) announce(ctx context.Context, infoHash [20]byte, port uint16, nodes []near) {
	var wg sync.WaitGroup
	tcp := int(port)
	for _, to := range nodes {
		wg.Go(func() {
			_, err := n.ask(ctx, to.addr, "announce_peer", krpc.MsgArgs{InfoHash: infoHash, Port: &tcp, Token: to.token})
			if err == nil {
				n.announces.Add(1)
			}
		})
	}
	wg.Wait()
}

// Find looks up the torrent's peers once. found is called as they come, from one
// goroutine at a time.
func (n *Node) Find(ctx context.Context, infoHash [20]byte, found func([]netip.AddrPort)) error {
	ctx, leave, err := n.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = n.findPeers(ctx, infoHash, 0, found)
	return err
}

// findPeers calls found with each peer once, but not with this host at its own port.
func (n *Node) findPeers(ctx context.Context, infoHash [20]byte, own uint16, found func([]netip.AddrPort)) ([]near, error) {
	var here map[netip.Addr]bool
	if own != 0 {
		here = ownAddrs()
	}
	seen := make(map[netip.AddrPort]bool)
	tell := func(peers []netip.AddrPort) {
		peers = slices.DeleteFunc(peers, func(p netip.AddrPort) bool {
			if !n.zone.peer(p) || seen[p] || len(seen) >= maxFound || p.Port() == own && here[p.Addr()] {
				return true
			}
			seen[p] = true
			return false
		})
		if len(peers) > 0 {
			found(peers)
		}
	}
	tell(n.peers.get(infoHash, n.now(), maxFound*32, func(netip.Addr) bool { return true }))
	return n.lookup(ctx, infoHash, "get_peers", krpc.MsgArgs{InfoHash: infoHash}, func(_ netip.AddrPort, r *krpc.Return) {
		peers := make([]netip.AddrPort, len(r.Values))
		for i, v := range r.Values {
			peers[i] = v.ToNodeAddrPort().AddrPort
		}
		tell(peers)
	})
}

// tellKeepers hands a peer that has announced itself to this node to whom it concerns.
func (n *Node) tellKeepers(infoHash [20]byte, peer netip.AddrPort) {
	n.mu.Lock()
	keepers := slices.Collect(maps.Keys(n.keepers[infoHash]))
	n.mu.Unlock()
	for _, k := range keepers {
		if k.port != peer.Port() || !ownAddrs()[peer.Addr()] {
			k.box.put(n.spawn, k.found, peer)
		}
	}
}

// here is this host as a peer of the torrent, as who asks from an address can reach
// it; none when it is no peer. A node that is alone has nobody else to tell that.
func (n *Node) here(infoHash [20]byte, from netip.AddrPort) (peers []netip.AddrPort) {
	n.mu.Lock()
	var ports []uint16
	for k := range n.keepers[infoHash] {
		if k.port != 0 && !slices.Contains(ports, k.port) && len(ports) < maxHere {
			ports = append(ports, k.port)
		}
	}
	n.mu.Unlock()
	if len(ports) == 0 {
		return nil
	}
	own := n.Addr().Addr()
	if own.IsUnspecified() {
		own = towards(from)
	}
	for _, port := range ports {
		if at := netip.AddrPortFrom(own, port); at != from && n.zone.peer(at) && own.Is4() == from.Addr().Is4() {
			peers = append(peers, at)
		}
	}
	return peers
}

// maxHere is how many peers this host is of one torrent, at the most.
const maxHere = 4

// towards is the address that this machine has for another; the zero value when
// there is no way to it. Nothing is sent.
func towards(other netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(other))
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = c.Close() }()
	return unmap(c.LocalAddr()).Addr()
}
